"""The commands that look at a whole collection: duplicates, cluster and pairs."""

import shutil
from types import SimpleNamespace

import pandas as pd
import pytest
from PIL import Image

import lrcr as public

from .command import lrcr, pixels, refuse, rows, run

ALL = ("--min-score", 0)


@pytest.fixture(scope="module")
def copied(photos, index, tmp_path_factory):
    """The index with an exact copy of one photo, and the folder of its photos."""
    folder = tmp_path_factory.mktemp("copied")
    shutil.copytree(index, folder / "my.index")
    shutil.copy(photos / "images/1/2.png", folder / "copy.png")
    code, _, err = run("add", folder / "my.index", folder / "copy.png")
    assert code == 0, err
    return folder / "my.index"


def test_a_copy_is_a_duplicate_and_the_other_photos_are_not(copied):
    code, out, err = run("duplicates", copied, "--min-score", 0.999)
    assert (code, err.splitlines()[-1]) == (0, f"{copied}: 1 group of 2 images")
    found = rows(out)
    assert [row[:3] for row in found] == [["1", "1/2.png", "1.0000"], ["1", "copy.png", "1.0000"]]
    assert found[0][3] == "landmark-1"


@pytest.mark.parametrize("command", ["duplicates", "cluster"])
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_groups_are_written(copied, tmp_path, command, suffix):
    file = tmp_path / f"groups.{suffix}"
    assert lrcr(command, copied, *ALL, "-o", file) == ""
    found = pd.read_csv(file) if suffix == "csv" else pd.read_parquet(file)
    expected = getattr(public, command)(public.open_index(copied), min_score=0.0)
    assert list(found.columns) == list(expected.columns)
    assert found["image"].tolist() == expected["image"].tolist() and len(found) > 4
    assert found["path"].map(lambda path: Image.open(path).size == (96, 80)).all()


def test_groups_are_drawn(copied, tmp_path):
    lrcr("cluster", copied, *ALL, "--plot", tmp_path / "sheet.png")
    assert pixels(tmp_path / "sheet.png").shape[1] > 500


def test_no_groups_are_not_drawn(copied, tmp_path):
    code, out, err = run("cluster", copied, "--min-score", 2, "--plot", tmp_path / "sheet.png")
    assert (code, rows(out)) == (0, []) and f"{tmp_path / 'sheet.png'}: not drawn, for there is no group" in err
    assert not list(tmp_path.iterdir())


def test_an_index_of_vectors_has_groups(global_index):
    _, out, err = run("cluster", global_index, "--min-score", -1, "--neighbours", 11)
    assert len(rows(out)) == 12 and err.splitlines()[-1].endswith("1 group of 12 images")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("cluster", "--min-inliers", 4),
            "--min-inliers: {index} owns no local descriptors; build it with index.local_d",
        ),
        (
            ("cluster", "-o", "a.txt"),
            "--output a.txt: groups are written as .csv or .parquet; choose one of these suffi",
        ),
        (("pairs", "-o", "a.txt", "--format", "x"), "--format x: unknown; choose from hloc, colmap"),
        (("pairs", "-o", "."), "--output .: is a folder, not a file; name another file"),
        (("duplicates", "-o", "."), "--output .: is a folder, not a file; name another file"),
        (
            ("pairs", "-o", 300 * "x"),
            f"--output {300 * 'x'}: cannot be written (File name too long); name another file",
        ),
        (("duplicates", "-o", "a.csv", "--plot", "a.txt"), "a.txt: a picture of groups is a .png, .jpg or .jpeg"),
        (("cluster", "--min-score", "nan"), "--min-score: nan is not a finite number; give for example 0.5"),
        (("cluster", "--min-score", "inf"), "--min-score: inf is not a finite number; give for example 0.5"),
    ],
)
def test_what_cannot_be_done_is_refused(index, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    command, *options = arguments
    monkeypatch.setattr("lrcr.retrieval.groups.find_neighbours", lambda *_: pytest.fail("it compares"))
    code, _, err = run(command, index, *options)
    assert code == 2 and f"error: {said.format(index=index)}" in err
    assert not list(tmp_path.iterdir())


def test_pairs_are_written_for_both_programs(index, tmp_path):
    for form in ("hloc", "colmap"):
        assert lrcr("pairs", index, "-o", tmp_path / f"{form}.txt", "--top", 2, "--format", form) == ""
    hloc, colmap = ((tmp_path / f"{form}.txt").read_text().splitlines() for form in ("hloc", "colmap"))
    assert len(hloc) == 24 and hloc[0].startswith("0/0.png ")
    assert {frozenset(line.split()) for line in hloc} == {frozenset(line.split()) for line in colmap}
    assert len({frozenset(line.split()) for line in colmap}) == len(colmap) < 24


def test_a_name_that_a_list_of_pairs_cannot_hold_is_refused_before_the_search(index, photos, tmp_path, monkeypatch):
    shutil.copytree(photos / "images/1", tmp_path / "new/a b")
    monkeypatch.setattr("lrcr.retrieval.pairs.find_query_pairs", lambda *_: pytest.fail("it searches"))
    code, _, err = run("pairs", index, "-o", tmp_path / "pairs.txt", "--queries", tmp_path / "new")
    assert code == 2 and "pairs.txt: cannot hold the name 'a b/0.png' (white space or a first #)" in err
    assert not (tmp_path / "pairs.txt").exists()


def test_photos_to_pair_are_a_folder(index, photos, tmp_path):
    photo = photos / "images/1/0.png"
    said = refuse("pairs", index, "-o", tmp_path / "pairs.txt", "--queries", photo)
    assert said == f"--queries {photo}: not a folder; name a folder of photos"


def test_photos_that_are_looked_for_are_paired_with_images(index, photos, tmp_path):
    """Named as the index names them where they lie in its folder, and otherwise below their own."""
    shutil.copytree(photos / "images/1", tmp_path / "new/query")
    for folder, name in ((photos / "images/1", "1/0.png"), (tmp_path / "new", "query/0.png")):
        lrcr("pairs", index, "-o", tmp_path / "pairs.txt", "--queries", folder, "--top", 2)
        found = [line.split() for line in (tmp_path / "pairs.txt").read_text().splitlines()]
        assert len(found) == 6 and [query for query, _ in found][:2] == [name] * 2
        assert all(query != image for query, image in found)
    assert found[0][1] == "1/0.png"


def test_the_table_of_verified_groups_has_their_inliers(monkeypatch, tmp_path):
    found = {"group": 1, "image": ["a.png", "b.png"], "score": 0.5, "inliers": [7, 6], "label": [None, "church"]}
    monkeypatch.setattr(public.collections, "cluster", lambda *_, **__: pd.DataFrame(found))
    index = SimpleNamespace(searcher=SimpleNamespace(has_model=True))
    monkeypatch.setattr("lrcr.cli.collections.open_index", lambda *_, **__: index)
    assert rows(lrcr("cluster", tmp_path, "--min-inliers", 4)) == [
        ["1", "a.png", "0.5000", "7", ""],
        ["1", "b.png", "0.5000", "6", "church"],
    ]
