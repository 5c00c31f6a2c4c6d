import shutil
import sys

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lrcr.artifacts import Manifest
from lrcr.cli.main import app, main
from lrcr.models.zoo import MODEL_SECTIONS, build_model, save_model
from lrcr.params import load_params


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


def maps(*arguments):
    return CliRunner().invoke(app, ["maps", *map(str, arguments)], catch_exceptions=False)


def refuse(monkeypatch, capsys, *arguments):
    """The line that the command ends with, and that its exit code is 2."""
    monkeypatch.setattr(sys, "argv", ["lrcr", "maps", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    return line


def shape(path):
    with Image.open(path) as picture:
        return picture.size


def test_a_picture_of_each_photo(folder, tmp_path):
    done = maps(folder / "a.jpg", folder / "b.jpg", "--model", folder / "full.pt", "-o", tmp_path / "maps")
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
        assert maps(folder / "a.jpg", *options, "-o", tmp_path / name).exit_code == 0
    sizes = {path.name: shape(path) for path in tmp_path.iterdir()}
    assert set(sizes) == {"plain.png", "full.jpg", "spots.png", "beside.png"}
    assert sizes["plain.png"][1] < sizes["full.jpg"][1]


def test_bad_input_is_one_line(folder, tmp_path, monkeypatch, capsys):
    photo, full = folder / "a.jpg", ("--model", folder / "full.pt")
    output = tmp_path / "maps"

    def said(*arguments):
        return refuse(monkeypatch, capsys, *arguments)

    assert "a picture of maps is a .png" in said(photo, *full, "-o", tmp_path / "maps.gif")
    assert "one picture for 2 photos; name a folder" in said(photo, folder / "b.jpg", *full, "-o", tmp_path / "x.png")
    assert "--at 5: not two numbers" in said(photo, *full, "-o", output, "--at", "5")
    assert "the spot 64,5 lies outside the photo (64 × 48 pixels)" in said(photo, *full, "-o", output, "--at", "64,5")
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
    assert "name another folder" in refuse(monkeypatch, capsys, photo, *model, "-o", photo)
    assert "name another folder" in refuse(monkeypatch, capsys, photo, *model, "-o", tmp_path)
    assert photo.read_bytes() == before
    (tmp_path / "other").mkdir()
    shutil.copy(photo, tmp_path / "other" / "photo.jpg")
    both = (photo, tmp_path / "other" / "photo.jpg")
    assert "photo.png is, or would be" in refuse(monkeypatch, capsys, *both, *model, "-o", tmp_path / "maps")
