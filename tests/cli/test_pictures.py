"""`lrcr plot maps` and `lrcr plot rankings` draw what the library draws of the same."""

import shutil
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
from PIL import Image

from lrcr.cli.pictures import _name_methods
from lrcr.config.reading import load_params
from lrcr.data.dataset import Photo, open_dataset
from lrcr.data.ranking import Ranking
from lrcr.evaluation.evaluate import evaluate_ranking
from lrcr.models.factory import MODEL_SECTIONS, build_model, open_local_model, save_model
from lrcr.report.grading import choose_contrasts, choose_extremes, make_row
from lrcr.report.inspection import inspect_photo
from lrcr.report.maps import draw_maps
from lrcr.report.rankings import draw_rankings
from lrcr.storage.artifacts import Manifest

from .command import pixels, refuse, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two photos, a model with filters and edges, and a plain one."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("a", "b"):
        pixels = np.random.default_rng(ord(name)).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.jpg")
    small = [
        *("backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none", "backbone.crop_border=0"),
        *("smoothing.kind=average", "whitening.dim=8"),
    ]
    for name, more in {"full": ["smoothing.kind=learnable", "graph.kind=gcn"], "plain": []}.items():
        params = load_params(overrides=[*small, *more])
        save_model(folder / f"{name}.pt", build_model(params), Manifest("model", params.sections(*MODEL_SECTIONS), {}))
    return folder


def draw_expected(tmp_path, photo, model, baseline=None, image_size=1024, spots=()):
    """The pixels of what the library draws."""
    shown = Photo(photo, orient=True)
    other = None if baseline is None else inspect_photo(open_local_model(baseline), shown, image_size)
    file = tmp_path / "expected.png"
    draw_maps(file, photo.name, inspect_photo(open_local_model(model), shown, image_size, spots), other)
    return pixels(file)


def test_a_picture_of_each_photo(folder, tmp_path):
    model, output = folder / "full.pt", tmp_path / "maps"
    code, out, err = run("plot", "maps", folder / "a.jpg", folder / "b.jpg", "--model", model, "-o", output)
    assert (code, out) == (0, "")
    assert "draw maps" in err and "2/2" in err
    assert err.endswith(f"{output}: 2 pictures\n")
    assert sorted(path.name for path in output.iterdir()) == ["a.png", "b.png"]
    np.testing.assert_array_equal(pixels(output / "b.png"), draw_expected(tmp_path, folder / "b.jpg", model))
    assert (pixels(output / "a.png") != pixels(output / "b.png")).any()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--model", "plain.pt"], {"model": "plain.pt"}),
        (
            ["--model", "full.pt", "--at", "5,5", "--at", "60,40", "--image-size", "32"],
            {"model": "full.pt", "image_size": 32, "spots": [(5, 5), (60, 40)]},
        ),
        (["--model", "full.pt", "--baseline", "plain.pt"], {"model": "full.pt", "baseline": "plain.pt"}),
    ],
)
def test_one_picture_by_its_name(folder, tmp_path, monkeypatch, options, expected):
    monkeypatch.chdir(folder)
    picture = tmp_path / "maps.png"
    assert run("plot", "maps", "a.jpg", *options, "-o", picture) == (0, "", ANY)
    np.testing.assert_array_equal(pixels(picture), draw_expected(tmp_path, Path("a.jpg"), **expected))


def test_a_picture_can_be_a_jpeg(folder, tmp_path):
    for name in ("maps.png", "maps.jpg"):
        run("plot", "maps", folder / "a.jpg", "--model", folder / "plain.pt", "-o", tmp_path / name)
    with Image.open(tmp_path / "maps.jpg") as drawn:
        assert drawn.format == "JPEG"
    assert pixels(tmp_path / "maps.jpg").shape == pixels(tmp_path / "maps.png")[..., :3].shape


def test_bad_input_is_one_line(folder, tmp_path):
    photo, full = folder / "a.jpg", ("--model", folder / "full.pt")
    output = tmp_path / "maps"

    def said(*arguments):
        return refuse("plot", "maps", *arguments)

    assert "a picture of maps is a .png" in said(photo, *full, "-o", tmp_path / "maps.gif")
    assert "one picture, but 2 photos; name a folder" in said(photo, folder / "b.jpg", *full, "-o", tmp_path / "x.png")
    assert "--at 5: not two numbers" in said(photo, *full, "-o", output, "--at", "5")
    assert "the point 64,5 is outside the photo (64 × 48 pixels)" in said(photo, *full, "-o", output, "--at", "64,5")
    assert "neither filters nor edges" in said(photo, "--model", folder / "plain.pt", "-o", output, "--at", "5,5")
    assert "none.pt: no such file" in said(photo, "--model", tmp_path / "none.pt", "-o", output)
    assert "none.pt: no such file" in said(photo, *full, "--baseline", tmp_path / "none.pt", "-o", output)
    assert "cannot be read" in said(tmp_path / "none.jpg", *full, "-o", output)
    (tmp_path / "file").write_text("")
    assert "is a file, but not a picture; name a folder, a .png or a .jpg" in said(
        photo, *full, "-o", tmp_path / "file"
    )
    assert not output.exists()


def test_no_photo_is_written_over(folder, tmp_path):
    photo = tmp_path / "photo.png"
    Image.open(folder / "a.jpg").save(photo)
    before = photo.read_bytes()
    model = ("--model", folder / "full.pt")
    assert "name another folder" in refuse("plot", "maps", photo, *model, "-o", photo)
    assert "name another folder" in refuse("plot", "maps", photo, *model, "-o", tmp_path)
    assert photo.read_bytes() == before
    (tmp_path / "other").mkdir()
    shutil.copy(photo, tmp_path / "other" / "photo.jpg")
    both = (photo, tmp_path / "other" / "photo.jpg")
    assert "photo.png would overwrite a photo or another picture" in refuse(
        "plot", "maps", *both, *model, "-o", tmp_path / "maps"
    )


@pytest.fixture
def ranked(landmarks, tmp_path):
    """Two rankings of the same queries: by image, and backwards."""
    for name, order in {"forth": range(16), "back": range(15, -1, -1)}.items():
        scores = [np.linspace(1, 0, 16, dtype=np.float32)] * 15
        Ranking.from_queries([np.array(order)] * 15, scores).save(tmp_path / f"{name}.parquet")
    return landmarks, tmp_path / "forth.parquet", tmp_path / "back.parquet"


@pytest.mark.parametrize(
    ("files", "options", "queries", "top"),
    [
        (["forth", "back"], ["--top", 3], "contrasts", 3),
        (["forth", "back"], ["--query", 0, "--query", 7], [0, 7], 10),
        (["forth"], ["--top", "5"], "extremes", 5),
        (["back"], ["--query", 3, "--top", "12"], [3], 12),
    ],
)
def test_rankings_are_drawn_below_each_other(ranked, tmp_path, files, options, queries, top):
    """Six queries unless they are named: those on which two rankings differ most, or the best and worst of one."""
    dataset = ranked[0]
    rankings = [tmp_path / f"{name}.parquet" for name in files]
    aps = [evaluate_ranking(file, dataset)["medium"].to_numpy(np.float64) for file in rankings]
    chosen = {
        "contrasts": lambda: choose_contrasts(aps[0], aps[-1], 6),
        "extremes": lambda: choose_extremes(aps[0], 6, 0),
    }
    drawn = [
        make_row(open_dataset(dataset), Ranking.load(file), query, top, ap[query], name if len(files) > 1 else "query")
        for query in (queries if isinstance(queries, list) else chosen[queries]())
        for name, file, ap in zip(files, rankings, aps, strict=True)
    ]
    draw_rankings(tmp_path / "expected.png", drawn, orient=open_dataset(dataset).orient)
    code, out, err = run("plot", "rankings", dataset, *rankings, "-o", tmp_path / "sheet.png", *options)
    shown = "1 ranking" if len(drawn) == 1 else f"{len(drawn)} rankings"
    assert (code, out, err.splitlines()[-1]) == (0, "", f"{tmp_path / 'sheet.png'}: {shown}")
    np.testing.assert_array_equal(pixels(tmp_path / "sheet.png"), pixels(tmp_path / "expected.png"))


def test_rankings_that_cannot_be_drawn(ranked, tmp_path):
    output = ("-o", tmp_path / "sheet.png")
    assert "has queries 0…14; choose one of these" in refuse("plot", "rankings", *ranked, *output, "--query", 15)
    assert "no such file" in refuse("plot", "rankings", ranked[0], tmp_path / "none.parquet", *output)
    assert "a .png, .jpg or .jpeg" in refuse("plot", "rankings", *ranked, "-o", tmp_path / "sheet.gif")
    assert not (tmp_path / "sheet.png").exists()


def test_methods_are_told_apart():
    assert _name_methods([Path("a/how.parquet"), Path("b/lrcr.parquet")]) == ["how", "lrcr"]
    assert _name_methods([Path("a/x.parquet"), Path("b/x.parquet")]) == ["a/x.parquet", "b/x.parquet"]
