"""`lrcr search` with queries as people ask: several, turned, with the query itself in the index, into files."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lrcr.cli.results import write_results
from lrcr.data.dataset import Photo
from lrcr.data.versions import versions_of
from lrcr.errors import ParamsError
from lrcr.report.rankings import QueryTile, ResultTile, draw_rankings
from lrcr.retrieval.photos import PhotoIndex
from lrcr.retrieval.queries import open_extractor
from lrcr.retrieval.searcher import Searcher
from lrcr.storage.artifacts import MANIFEST

from .command import ONE_WORD, lrcr, pixels, refuse, rows, run, sets


def search(*arguments: object) -> list[dict]:
    return json.loads(lrcr("search", *arguments, "--json"))


@pytest.fixture
def queries(photos) -> list[Path]:
    return [photos / f"images/{landmark}/0.png" for landmark in (2, 0)]


def test_several_photos_have_the_results_of_each_and_the_model_is_opened_once(index, queries, monkeypatch):
    each = [row for query in queries for row in search(index, query, "--top", 3)]
    opened = []
    monkeypatch.setattr("lrcr.retrieval.queries.open_extractor", lambda s: opened.append(1) or open_extractor(s))
    assert search(index, *queries, "--top", 3) == each
    assert opened == [1]
    assert [row["query"] for row in each] == [str(query) for query in queries for _ in range(3)]


def test_a_folder_and_a_list_are_searched_photo_by_photo(index, photos, queries, tmp_path):
    named = search(index, *(photos / f"images/2/{view}.png" for view in range(3)), "--top", 2)
    assert search(index, photos / "images/2", "--top", 2) == named
    (photos / "list.txt").write_text("images/2/0.png\n\n images/0/0.png \n")
    try:
        assert search(index, photos / "list.txt") == search(index, *queries)
    finally:
        (photos / "list.txt").unlink()


def test_what_cannot_be_read_is_passed_over_in_a_folder_but_not_if_it_is_named(index, photos, tmp_path):
    shutil.copy(photos / "images/2/0.png", tmp_path / "a.png")
    (tmp_path / "b.JPG").write_text("no picture")
    (tmp_path / "notes.md").write_text("text")
    code, out, err = run("search", index, tmp_path, "--json")
    assert code == 0 and {row["query"] for row in json.loads(out)} == {str(tmp_path / "a.png")}
    assert f"passed over: {tmp_path / 'b.JPG'}: not an image of a known format" in err
    assert "not an image" in refuse("search", index, tmp_path / "a.png", tmp_path / "b.JPG")


def test_bad_input_is_one_line(index, photos, queries, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.txt").write_text("\n")
    for place in (tmp_path / "empty", tmp_path / "empty.txt"):
        assert refuse("search", index, place) == f"{place}: names no photo; add some"
    missing = tmp_path / "none.txt"
    assert refuse("search", index, missing) == f"{missing}: no such file; name a list of photos, or a photo"
    (tmp_path / "wrong.txt").write_bytes(b"\xff\xfe\xfa")
    assert "not a list of photos" in refuse("search", index, tmp_path / "wrong.txt")
    assert "a box belongs to one photo; give one query" in refuse("search", index, *queries, "--box", "0,0,9,9")
    for more in (queries[1:], ["--rotations"]):
        line = refuse("search", index, queries[0], *more, "--plot-matches", tmp_path / "a.png")
        assert line.endswith("needs one query that is not turned or mirrored; give one")
    line = refuse("search", index, queries[0], "-o", tmp_path / "a.xml")
    suffixes = "results are written as .jsonl, .csv or .parquet; choose one of these suffixes"
    assert line == f"--output {tmp_path / 'a.xml'}: {suffixes}"
    assert refuse("search", index, queries[0], "-o", tmp_path).endswith("is a folder, not a file; name another file")
    nan = "--min-confidence: nan is not in [0, 1]; give for example 0.99"
    assert refuse("search", index, queries[0], "--min-confidence", "nan") == nan
    assert refuse("search", index, queries[0], "--box", "0,0,97,80").endswith(
        "(96 × 80 pixels as shown, 96 × 80 as stored); give it in pixels as shown"
    )


def test_results_are_written_as_json_lines_csv_and_parquet(index, queries, tmp_path):
    expected = search(index, *queries)
    files = [tmp_path / f"results.{suffix}" for suffix in ("jsonl", "csv", "parquet")]
    for file in files:
        assert lrcr("search", index, *queries, "-o", file) == ""
    assert [json.loads(line) for line in files[0].read_text().splitlines()] == expected
    with files[1].open(newline="") as lines:
        found = list(csv.DictReader(lines))
    texts = dict.fromkeys(expected[0], str) | {"rank": int, "score": float, "confidence": lambda text: text or None}
    assert [{name: texts[name](value) for name, value in row.items()} for row in found] == expected
    assert pd.read_parquet(files[2]).replace({np.nan: None}).to_dict("records") == expected


def test_no_result_is_a_file_without_rows(tmp_path):
    for suffix in ("jsonl", "csv", "parquet"):
        write_results(tmp_path / f"a.{suffix}", [])
    assert (tmp_path / "a.jsonl").read_text() == ""
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 1
    assert pd.read_parquet(tmp_path / "a.parquet").empty


def test_the_table_of_several_queries_names_them(index, queries):
    expected = search(index, *queries, "--top", 2)
    assert [row[:2] for row in rows(lrcr("search", index, *queries, "--top", 2))] == [
        [row["query"], str(row["rank"])] for row in expected
    ]


def test_a_sheet_shows_all_queries(index, queries, tmp_path):
    found = search(index, *queries, "--top", 3, "--plot", tmp_path / "sheet.png")
    tiles = [ResultTile(Path(row["path"]), row["image"], row["score"]) for row in found]
    sheet = [
        (QueryTile(query, "0.png"), tiles[start : start + 3]) for query, start in zip(queries, (0, 3), strict=True)
    ]
    draw_rankings(tmp_path / "expected.png", sheet)
    np.testing.assert_array_equal(pixels(tmp_path / "sheet.png"), pixels(tmp_path / "expected.png"))


@pytest.mark.parametrize("kind", ["index", "global_index"])
def test_a_top_above_the_size_gives_every_image_once(request, kind, queries):
    found = search(request.getfixturevalue(kind), queries[0], "--top", 1000)
    names = [row["image"] for row in found]
    assert len(names) == len(set(names)) <= 12 and set(names) >= {"2/0.png", "2/1.png", "2/2.png"}
    assert [row["rank"] for row in found] == list(range(1, len(found) + 1))
    if kind == "index":
        assert min(row["score"] for row in found) > 0
    else:
        assert len(names) == 12, "a negative similarity of vectors is a similarity too"


def test_images_of_score_0_are_no_results(index, queries):
    found = search(index, queries[0], "--top", 12, *ONE_WORD, *sets("search.tau=0.8"))
    assert 0 < len(found) < 12 and min(row["score"] for row in found) > 0


def test_the_query_itself_is_left_out_by_its_contents(index, photos, queries, tmp_path):
    names = [row["image"] for row in search(index, queries[0], "--top", 12)]
    others = [name for name in names if name != "2/0.png"]
    assert "2/0.png" in names[:3]
    shutil.copy(queries[0], tmp_path / "renamed.jpg")
    for query in (queries[0], tmp_path / "renamed.jpg"):
        found = search(index, query, "--top", 3, "--exclude-self")
        assert [row["image"] for row in found] == others[:3]
        assert [row["rank"] for row in found] == [1, 2, 3]
        assert [row["image"] for row in search(index, query, "--exclude-self", "--top", 100)] == others
    moved = shutil.copytree(index, tmp_path / "moved.index")
    (moved / "manifest.json").write_text((moved / "manifest.json").read_text().replace(str(photos), "/gone"))
    assert [row["image"] for row in search(moved, queries[0], "--exclude-self", "--top", 3)] == others[:3]
    with Image.open(queries[0]) as photo:
        photo.putpixel((0, 0), (1, 2, 3))
        photo.save(tmp_path / "edited.png")
    assert "2/0.png" in [row["image"] for row in search(index, tmp_path / "edited.png", "--exclude-self")]


TURNS = {
    "90°": Image.Transpose.ROTATE_90,
    "180°": Image.Transpose.ROTATE_180,
    "270°": Image.Transpose.ROTATE_270,
    "mirrored": Image.Transpose.FLIP_LEFT_RIGHT,
}


@pytest.mark.parametrize("version", TURNS)
def test_a_turned_or_mirrored_query_finds_its_photo(index, queries, tmp_path, version):
    """A query that was turned counterclockwise is found when it is turned clockwise."""
    with Image.open(queries[0]) as photo:
        photo.transpose(TURNS[version]).save(tmp_path / "query.png")
    option = "--mirror" if version == "mirrored" else "--rotations"
    plain = search(index, tmp_path / "query.png", *ONE_WORD)
    found = search(index, tmp_path / "query.png", option, *ONE_WORD)
    assert (found[0]["image"], found[0]["version"]) == ("2/0.png", version)
    assert found[0]["score"] == pytest.approx(1, abs=1e-5) and found[0]["score"] > plain[0]["score"] + 0.01
    scores = {
        row["image"]: row["score"] for row in search(index, tmp_path / "query.png", "--top", 12, option, *ONE_WORD)
    }
    assert all(scores[row["image"]] >= row["score"] for row in plain)
    assert len(scores) == 12 or min(scores.values()) > 0
    assert version in lrcr("search", index, tmp_path / "query.png", option, *ONE_WORD)


@pytest.mark.parametrize(("version", "box"), [("90°", (20, 36, 70, 86)), ("mirrored", (36, 20, 86, 70))])
def test_a_box_turns_with_its_query(index, queries, tmp_path, version, box):
    with Image.open(queries[0]) as photo:
        photo.transpose(TURNS[version]).save(tmp_path / "query.png")
    turned = versions_of(Photo(tmp_path / "query.png", box, orient=True), rotations=True, mirror=True)[version]
    described = open_extractor(Searcher(index)).describe([turned, Photo(queries[0], (10, 20, 60, 70), orient=True)])
    found, expected = described.take([0]), described.take([1])
    np.testing.assert_array_equal(found.xy, expected.xy)
    np.testing.assert_array_equal(found.descriptors, expected.descriptors)


def test_a_truncated_query_is_taken_if_asked_for(index, photos, tmp_path):
    with Image.open(photos / "images/2/0.png") as photo:
        photo.save(tmp_path / "query.jpg", quality=95)
    (tmp_path / "query.jpg").write_bytes((tmp_path / "query.jpg").read_bytes()[:-300])
    said = refuse("search", index, tmp_path / "query.jpg")
    assert "image file is truncated" in said and said.endswith(
        "; copy it again, or accept it with --tolerate-truncated"
    )
    assert search(index, tmp_path / "query.jpg", "--tolerate-truncated")[0]["image"].startswith("2/")


def test_hits_of_a_turned_query_hold_the_descriptors_of_their_version(index, queries, tmp_path):
    with Image.open(queries[0]) as photo:
        photo.transpose(Image.Transpose.ROTATE_180).save(tmp_path / "query.png")
    opened = PhotoIndex(index)
    [hit] = opened.search(tmp_path / "query.png", 1, rotations=True)
    assert hit.version == "180°"
    assert sum(match.contribution for match in opened.explain(hit).matches) == pytest.approx(hit.score, abs=1e-5)


@pytest.fixture
def calibrated(index, tmp_path, monkeypatch):
    """A copy of the index that is calibrated, though it holds few photos."""
    for module in ("confidence", "searcher"):
        monkeypatch.setattr(f"lrcr.retrieval.{module}.FEWEST", 12)
    copy = shutil.copytree(index, tmp_path / "calibrated.index")
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["facts"]["confidence"] = {"slope": 0.1}
    (copy / MANIFEST).write_text(json.dumps(manifest))
    return copy


def test_results_have_a_confidence(calibrated, queries, tmp_path):
    found = search(calibrated, queries[0], *ONE_WORD)
    confidences = [row["confidence"] for row in found]
    assert 1 >= confidences[0] > 0.5 > confidences[-1] >= 0 and confidences == sorted(confidences, reverse=True)
    assert [row[2] for row in rows(lrcr("search", calibrated, queries[0], *ONE_WORD))] == [
        f"{confidence:.3f}" for confidence in confidences
    ]
    lrcr("search", calibrated, queries[0], *ONE_WORD, "-o", tmp_path / "a.parquet")
    assert pd.read_parquet(tmp_path / "a.parquet")["confidence"].tolist() == confidences
    turned = search(calibrated, queries[0], *ONE_WORD, "--rotations")
    assert turned[0]["confidence"] < confidences[0], "three more versions can match by accident"


def test_results_of_less_confidence_are_left_out(calibrated, queries, tmp_path):
    found = search(calibrated, *queries)
    least = sorted(row["confidence"] for row in found)[-3] - 1e-6  # they are rounded
    sure = search(calibrated, *queries, "--min-confidence", least)
    assert sure == [row for row in found if row["confidence"] >= least] and len(sure) >= 3
    code, out, err = run("search", calibrated, *queries, "--min-confidence", 1, "--json")
    assert (code, json.loads(out)) == (0, [])
    assert [line for line in err.splitlines() if "no match" in line] == [f"{query}: no match" for query in queries]
    hits = PhotoIndex(calibrated).search(queries[0], min_confidence=least)
    assert [hit.image for hit in hits] == [row["image"] for row in sure if row["query"] == str(queries[0])]
    with pytest.raises(ParamsError, match=r"min_confidence: 99 is not in \[0, 1\]; give for example 0\.99"):
        PhotoIndex(calibrated).search(queries[0], min_confidence=99)


def test_without_a_calibration_the_confidence_is_empty_and_not_filtered(index, queries):
    assert {row["confidence"] for row in search(index, queries[0])} == {None}
    assert refuse("search", index, queries[0], "--min-confidence", 0.9) == (
        f"--min-confidence: {index} holds 12 images, but calibration needs 100; add photos"
    )


def test_options_of_which_one_would_be_silent_are_refused(index, queries, tmp_path):
    line = refuse("search", index, queries[0], "--rerank", "expansion", *sets("rerank=[]"))
    assert line == "--set rerank=[]: --rerank expansion names the steps too; leave one of the two out"
    line = refuse("search", index, queries[0], "--json", "-o", tmp_path / "a.csv")
    assert line == f"--output {tmp_path / 'a.csv'}: --json prints the results instead; leave one of the two out"


@pytest.mark.parametrize(("option", "subject"), [("--plot", "rankings"), ("--plot-matches", "matches")])
def test_the_suffix_of_a_picture_is_checked_before_the_search(index, queries, tmp_path, monkeypatch, option, subject):
    monkeypatch.setattr(PhotoIndex, "search", lambda *_, **__: pytest.fail("it searched"))
    line = refuse("search", index, queries[0], option, tmp_path / "a.gif")
    assert line == f"{tmp_path / 'a.gif'}: a picture of {subject} is a .png, .jpg or .jpeg; name it so"
