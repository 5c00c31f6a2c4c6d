"""`lrcr index` and `lrcr search`."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lrcr.data.dataset import Photo
from lrcr.errors import ArtifactError
from lrcr.models.header import read_model_manifest
from lrcr.report.matches import PhotoKeypoints, ResultMatches, draw_matches
from lrcr.report.rankings import QueryTile, ResultTile, draw_rankings
from lrcr.retrieval.lock import LOCK
from lrcr.retrieval.photos import PhotoIndex
from lrcr.retrieval.queries import open_extractor
from lrcr.retrieval.searcher import Searcher
from lrcr.storage.artifacts import read_json

from .command import ONE_WORD, SMALL, lrcr, pixels, refuse, rows, run, sets


def search(index: Path, query: Path, *arguments: object) -> list[dict]:
    return json.loads(lrcr("search", index, query, "--json", *arguments))


def test_search_finds_the_photo_itself_and_its_landmark(photos, index):
    found = search(index, photos / "images/2/1.png", "--top", 3, *ONE_WORD)
    assert [result["rank"] for result in found] == [1, 2, 3]
    assert found[0]["image"] == "2/1.png"
    assert found[0]["score"] == pytest.approx(1, abs=1e-5)
    assert {result["label"] for result in found} == {"landmark-2"}
    assert {result["path"] for result in found} == {str(photos / f"images/2/{view}.png") for view in range(3)}


def test_the_table_says_what_json_says(photos, index):
    query = photos / "images/2/1.png"
    assert rows(lrcr("search", index, query, "--top", 5)) == [
        [str(result["rank"]), f"{result['score']:.4f}", result["image"], result["label"]]
        for result in search(index, query, "--top", 5)
    ]


def test_names_are_not_markup(draw_photo, tmp_path):
    names = ["[bold]0.png", "red] [/b.png"]
    for number, name in enumerate(names):
        draw_photo(tmp_path / "photos [old]" / name, number, 0)
    folder = tmp_path / "my [new].index"
    code, out, err = run("index", tmp_path / "photos [old]", "-o", folder, *SMALL[:-2], *sets("codebook.words=2"))
    assert (code, out) == (0, "")
    assert err.splitlines()[-1].startswith(f"{folder}: 2 images, ")
    assert "reading photos [old]" in err
    table = rows(lrcr("search", folder, tmp_path / "photos [old]" / names[0]))
    assert [row[2] for row in table] == names


def test_a_sheet_shows_the_query_with_its_box_and_the_results(photos, index, tmp_path):
    query, sheet, expected = photos / "images/2/1.png", tmp_path / "sheet.png", tmp_path / "expected.png"
    box = ("--box", "0,0,60,60")
    found = search(index, query, "--plot", sheet, *box)
    assert len(found) == 10
    tiles = [ResultTile(Path(result["path"]), result["image"], result["score"]) for result in found]
    draw_rankings(expected, [(QueryTile(query, "1.png", (0, 0, 60, 60)), tiles)])
    np.testing.assert_array_equal(pixels(sheet), pixels(expected))
    lrcr("search", index, query, "--plot", sheet)
    assert (pixels(sheet) != pixels(expected)).any(), "without a box"


def test_a_box_is_what_is_searched(photos, index):
    query = photos / "images/2/1.png"
    whole = search(index, query, "--top", 1, *ONE_WORD)
    assert search(index, query, "--top", 1, *ONE_WORD, "--box", "0,0,96,80") == whole
    [part] = search(index, query, "--top", 1, *ONE_WORD, "--box", "0,0,48,80")
    assert part["image"].startswith("2/") and part["score"] < 0.99


def test_a_search_explains_itself(photos, index, tmp_path):
    query, picture, expected = photos / "images/2/1.png", tmp_path / "matches.png", tmp_path / "expected.png"
    found = search(index, query, "--top", 3, "--plot-matches", picture)
    searcher = Searcher(index)
    extractor = open_extractor(searcher)
    described = extractor.describe([Photo(query, orient=True)])
    explained = []
    for result in found:
        image = extractor.describe([Photo(Path(result["path"]), orient=True)])
        matches = searcher.index.explain(described, image)
        assert sum(match.contribution for match in matches) == pytest.approx(result["score"], abs=1e-5)
        title = f"{result['rank']}. {result['image']}, {result['score']:.4f}"
        explained.append(ResultMatches(PhotoKeypoints(Path(result["path"]), image.xy), title, matches))
    draw_matches(expected, PhotoKeypoints(query, described.xy), explained)
    np.testing.assert_array_equal(pixels(picture), pixels(expected))


def test_the_inliers_are_drawn_where_the_index_owns_local_descriptors(photos, tmp_path):
    pytest.importorskip("cv2")
    query, picture, expected = photos / "images/2/1.png", tmp_path / "matches.png", tmp_path / "expected.png"
    lrcr("index", photos / "images", "-o", tmp_path / "own.index", *SMALL, *sets("index.local_descriptors=float16"))
    found = search(tmp_path / "own.index", query, "--top", 2, "--plot-matches", picture)
    hits = PhotoIndex(tmp_path / "own.index").search(query, top=2)
    verified = [PhotoIndex(tmp_path / "own.index").verify(hit) for hit in hits]
    assert len(verified[0].matches) > 10, "the photo itself"
    drawn = [
        ResultMatches(
            PhotoKeypoints(hit.path, each.hit), f"{hit.rank}. {hit.image}, {hit.score:.4f}", each.matches, "inliers"
        )
        for hit, each in zip(hits, verified, strict=True)
    ]
    assert [hit.image for hit in hits] == [result["image"] for result in found]
    draw_matches(expected, PhotoKeypoints(query, verified[0].query), drawn)
    np.testing.assert_array_equal(pixels(picture), pixels(expected))


def test_global_vectors_are_searched_alike_but_have_nothing_to_explain(photos, global_index, tmp_path):
    query = photos / "images/2/1.png"
    found = search(global_index, query, "--top", 3)
    assert found[0]["image"] == "2/1.png" and found[0]["score"] == pytest.approx(1, abs=1e-4)
    assert {result["label"] for result in found} == {"landmark-2"}
    line = refuse("search", global_index, query, "--plot-matches", tmp_path / "a.png")
    assert line.endswith("holds global vectors, which have no locations; leave it out")
    assert not (tmp_path / "a.png").exists()


def test_results_are_ranked_again(photos, global_index):
    query = photos / "images/2/1.png"
    first = search(global_index, query, "--top", 4)
    again = search(global_index, query, "--top", 4, "--rerank", "expansion", "--rerank", "superglobal")
    steps = sets("rerank=[{kind: expansion}, {kind: superglobal}]")
    assert search(global_index, query, "--top", 4, *steps) == again
    assert [result["score"] for result in again] != [result["score"] for result in first]
    assert len(again) == 4 and again[0]["label"] == "landmark-2"
    line = refuse("search", global_index, query, "--rerank", "fast")
    assert line.endswith(
        "rerank.0.kind: 'fast' is not a kind of step; use expansion, superglobal, geometric, blend, diffusion, words"
    )


def test_params_of_a_search_are_not_those_of_the_index(photos, index, tmp_path):
    """A recipe, a file and single params, of which the later ones count."""
    query = photos / "images/2/1.png"
    plain = search(index, query)
    weighted = search(index, query, *sets("search.alpha=1.0"))
    assert [result["score"] for result in weighted] != [result["score"] for result in plain]
    (tmp_path / "params.yaml").write_text("search: {alpha: 1.0}")
    assert search(index, query, "--params", tmp_path / "params.yaml") == weighted
    assert search(index, query, "--params", tmp_path / "params.yaml", *sets("search.alpha=3.0")) == plain
    assert search(index, query, "--recipe", "how-r18") == search(index, query, *sets("search.idf=false"))


def test_an_index_needs_nothing_else(index, photos, tmp_path):
    query = photos / "images/0/0.png"
    before = search(index, query)
    moved = tmp_path / "moved.index"
    shutil.copytree(index, moved)
    index_away = index.with_name("away.index")
    index.rename(index_away)
    try:
        assert search(moved, query) == before
    finally:
        index_away.rename(index)


def test_index_says_what_it_has_built_and_replaces_an_index(photos, index, tmp_path):
    folder = tmp_path / "my.index"
    shutil.copytree(index, folder)
    (folder / "codebook" / "centroids.npy").unlink()
    code, out, err = run("index", photos, "-o", folder, *SMALL)
    assert (code, out) == (0, "")
    assert err.splitlines()[-1] == f"{folder}: {Searcher(folder).index.summary}"
    assert "extract database" in err and "12/12" in err
    files, built = (
        sorted(path.relative_to(each) for path in each.rglob("*") if path.is_file() and path.name != LOCK)
        for each in (index, folder)
    )
    assert built == files
    same = [file for file in files if (folder / file).read_bytes() == (index / file).read_bytes()]
    assert same == files


def test_without_options_packaged_weights_describe_the_photos_and_no_network_is_used(photos, tmp_path, monkeypatch):
    def no_network(*_: object) -> None:
        pytest.fail("a connection is opened")

    monkeypatch.setattr("socket.socket.connect", no_network)
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    lrcr("index", photos, "-o", tmp_path / "my.index")
    manifest = read_model_manifest(tmp_path / "my.index/model.safetensors")
    backbone = manifest.params["backbone"]
    assert (backbone["name"], backbone["weights"]) == ("timm/tf_efficientnet_lite0", "packaged")
    for query in ("0/0.png", "2/1.png"):
        found = search(tmp_path / "my.index", photos / "images" / query)
        assert len(found) == 10 and found[0]["image"] == query


def test_an_index_is_built_with_a_recipe_a_file_and_single_params(photos, tmp_path):
    (tmp_path / "params.yaml").write_text("codebook: {words: 12}\nextract: {max_descriptors: 99}\nseed: 3")
    given = ("--recipe", "lrcr-r18", "--params", tmp_path / "params.yaml")
    lrcr("index", photos, "-o", tmp_path / "my.index", *given, *SMALL[:-2])
    stored = read_json(tmp_path / "my.index" / "params.json")
    assert stored["smoothing"]["kind"] == "learnable", "of the recipe"
    assert (stored["codebook"]["words"], stored["seed"]) == (12, 3), "of the file"
    assert stored["extract"]["max_descriptors"] == 60, "of --set"


def test_bad_input_is_one_line(photos, index, tmp_path):
    query = photos / "images/0/0.png"
    assert "no such file" in refuse("search", tmp_path / "none", query)
    assert "not an image" in refuse("search", index, photos / "labels.csv")
    assert refuse("search", index, query, "--box", "1,2") == "--box 1,2: not four numbers; write x0,y0,x1,y1 in pixels"
    assert "is a .png, .jpg or .jpeg" in refuse("search", index, query, "--plot-matches", tmp_path / "a.gif")
    assert "is a .png, .jpg or .jpeg" in refuse("search", index, query, "--plot", tmp_path / "a.gif")
    assert "index.binary=false: index is decided by the index" in refuse(
        "search", index, query, *sets("index.binary=false")
    )
    exists = f"{photos}: exists and is not an index; name another folder"
    assert refuse("index", photos, "-o", photos) == exists
    unstored = "--set search.tau=0.25: params of search are not stored in an index; use it with `lrcr search`"
    assert refuse("index", photos, "-o", tmp_path / "new.index", *sets("search.tau=0.25")) == unstored
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_index_is_no_searcher(index, tmp_path):
    shutil.copytree(index, tmp_path / "damaged.index")
    (tmp_path / "damaged.index" / "images.parquet").write_bytes(b"PAR1")
    with pytest.raises(ArtifactError, match=r"images\.parquet: 4 bytes, not \d+ bytes"):
        Searcher(tmp_path / "damaged.index")


@pytest.mark.parametrize(("model", "count"), [("local", 1), ("local", 2), ("gem", 2), ("gem", 5)])
def test_a_few_photos_are_indexed_with_a_codebook_that_fits(draw_photo, tmp_path, model, count):
    for number in range(count):
        draw_photo(tmp_path / "photos" / f"{number}.png", number, 0)
    options = [*SMALL[:-2], *sets(f"model.name={model}")]
    code, _, err = run("index", tmp_path / "photos", "-o", tmp_path / "my.index", *options)
    assert code == 0, err
    assert err.count("WARNING") <= 1
    found = search(tmp_path / "my.index", tmp_path / "photos/0.png")
    assert "0.png" in [result["image"] for result in found] and len(found) <= count
