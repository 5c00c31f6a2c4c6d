import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lrcr.cli.main import app, main
from lrcr.cli.pictures import _tell_apart
from lrcr.config.reading import load_params
from lrcr.data.ranking import Ranking
from lrcr.models.factory import MODEL_SECTIONS, build_model, save_model
from lrcr.storage.artifacts import Manifest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two photos, a model with filters and edges, and a plain one."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("a", "b"):
        pixels = np.random.default_rng(ord(name)).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.jpg")
    small = ["backbone.skip_layers=3", "backbone.weights=none", "whitening.dim=8"]
    for name, more in {"full": ["smoothing.kind=learnable", "graph.kind=gcn"], "plain": []}.items():
        params = load_params(overrides=[*small, *more])
        save_model(folder / f"{name}.pt", build_model(params), Manifest("model", params.sections(*MODEL_SECTIONS), {}))
    return folder


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)


def refuse(monkeypatch, capsys, *arguments):
    """The line that the command ends with, and that its exit code is 2."""
    monkeypatch.setattr(sys, "argv", ["lrcr", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    return line


def shape(path):
    with Image.open(path) as picture:
        return picture.size


def test_a_picture_of_each_photo(folder, tmp_path):
    done = run("maps", folder / "a.jpg", folder / "b.jpg", "--model", folder / "full.pt", "-o", tmp_path / "maps")
    assert done.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == ["a.png", "b.png"]
    assert shape(tmp_path / "maps" / "a.png") == shape(tmp_path / "maps" / "b.png")


def test_one_picture_by_its_name(folder, tmp_path):
    for name, options in {
        "plain.png": ["--model", folder / "plain.pt"],
        "full.jpg": ["--model", folder / "full.pt"],
        "spots.png": ["--model", folder / "full.pt", "--at", "5,5", "--at", "60,40", "--image-size", "32"],
        "beside.png": ["--model", folder / "full.pt", "--baseline", folder / "plain.pt"],
    }.items():
        assert run("maps", folder / "a.jpg", *options, "-o", tmp_path / name).exit_code == 0
    sizes = {path.name: shape(path) for path in tmp_path.iterdir()}
    assert set(sizes) == {"plain.png", "full.jpg", "spots.png", "beside.png"}
    assert sizes["plain.png"][1] < sizes["full.jpg"][1]


def test_bad_input_is_one_line(folder, tmp_path, monkeypatch, capsys):
    photo, full = folder / "a.jpg", ("--model", folder / "full.pt")
    output = tmp_path / "maps"

    def said(*arguments):
        return refuse(monkeypatch, capsys, "maps", *arguments)

    assert "a picture of maps is a .png" in said(photo, *full, "-o", tmp_path / "maps.gif")
    assert "one picture for 2 photos; name a folder" in said(photo, folder / "b.jpg", *full, "-o", tmp_path / "x.png")
    assert "--at 5: not two numbers" in said(photo, *full, "-o", output, "--at", "5")
    assert "the point 64,5 is outside the photo (64 × 48 pixels)" in said(photo, *full, "-o", output, "--at", "64,5")
    assert "neither filters nor edges" in said(photo, "--model", folder / "plain.pt", "-o", output, "--at", "5,5")
    assert "none.pt: no such file" in said(photo, "--model", tmp_path / "none.pt", "-o", output)
    assert "none.pt: no such file" in said(photo, *full, "--baseline", tmp_path / "none.pt", "-o", output)
    assert "cannot be read" in said(tmp_path / "none.jpg", *full, "-o", output)
    (tmp_path / "file").write_text("")
    assert "is a file and no picture" in said(photo, *full, "-o", tmp_path / "file")
    assert not output.exists()


def test_no_photo_is_written_over(folder, tmp_path, monkeypatch, capsys):
    photo = tmp_path / "photo.png"
    Image.open(folder / "a.jpg").save(photo)
    before = photo.read_bytes()
    model = ("--model", folder / "full.pt")
    assert "name another folder" in refuse(monkeypatch, capsys, "maps", photo, *model, "-o", photo)
    assert "name another folder" in refuse(monkeypatch, capsys, "maps", photo, *model, "-o", tmp_path)
    assert photo.read_bytes() == before
    (tmp_path / "other").mkdir()
    shutil.copy(photo, tmp_path / "other" / "photo.jpg")
    both = (photo, tmp_path / "other" / "photo.jpg")
    assert "photo.png is, or would be" in refuse(monkeypatch, capsys, "maps", *both, *model, "-o", tmp_path / "maps")


@pytest.fixture
def ranked(landmarks, tmp_path):
    """Two rankings of the same queries: by image, and backwards."""
    for name, order in {"forth": range(16), "back": range(15, -1, -1)}.items():
        scores = [np.linspace(1, 0, 16, dtype=np.float32)] * 15
        Ranking.from_queries([np.array(order)] * 15, scores).save(tmp_path / f"{name}.parquet")
    return landmarks, tmp_path / "forth.parquet", tmp_path / "back.parquet"


def test_rankings_of_two_methods_below_each_other(ranked, tmp_path):
    height = 2 * 216 + 16
    for count, options in ((12, []), (4, ["--query", 0, "--query", 7])):
        assert run("rankings", *ranked, "-o", tmp_path / "sheet.png", *options).exit_code == 0
        assert shape(tmp_path / "sheet.png")[1] == count * height + 16
    assert run("rankings", *ranked[:2], "-o", tmp_path / "one.png", "--top", "5").exit_code == 0
    assert shape(tmp_path / "one.png")[1] == 6 * (216 + 16) + 16


def test_rankings_that_cannot_be_drawn(ranked, tmp_path, monkeypatch, capsys):
    output = ("-o", tmp_path / "sheet.png")
    assert "--query 15: " in refuse(monkeypatch, capsys, "rankings", *ranked, *output, "--query", 15)
    assert "no such file" in refuse(monkeypatch, capsys, "rankings", ranked[0], tmp_path / "none.parquet", *output)
    assert "name it so" in refuse(monkeypatch, capsys, "rankings", *ranked, "-o", tmp_path / "sheet.gif")
    assert not (tmp_path / "sheet.png").exists()


def test_methods_are_told_apart():
    assert _tell_apart([Path("a/how.parquet"), Path("b/lrcr.parquet")]) == ["how", "lrcr"]
    assert _tell_apart([Path("a/x.parquet"), Path("b/x.parquet")]) == ["a/x.parquet", "b/x.parquet"]
