import pandas as pd
import pytest

from lrcr.errors import ParamsError
from lrcr.retrieval.pairs import find_pairs, find_query_pairs, require_format, write_pairs
from lrcr.retrieval.photos import PhotoIndex
from lrcr.retrieval.searcher import Searcher

PAIRS = pd.DataFrame(
    [("a/1.jpg", "b.jpg", 0.9), ("a/1.jpg", "c.jpg", 0.5), ("b.jpg", "a/1.jpg", 0.9), ("c.jpg", "b.jpg", 0.1)],
    columns=["query", "image", "score"],
)


def read_as_hloc(file) -> dict[str, list[str]]:
    """The images of each query: hloc splits each line at white space."""
    found: dict[str, list[str]] = {}
    for query, image in (line.split() for line in file.read_text().rstrip("\n").split("\n")):
        found.setdefault(query, []).append(image)
    return found


def read_as_colmap(file) -> list[tuple[str, str]]:
    """The pairs: COLMAP passes over comments, and splits a line at blanks."""
    lines = (line.strip() for line in file.read_text().splitlines())
    return [tuple(line.split(" ")) for line in lines if line and not line.startswith("#")]


def test_hloc_has_the_images_of_each_query_in_their_order(tmp_path):
    assert write_pairs(tmp_path / "pairs.txt", PAIRS, "hloc") == 4
    assert read_as_hloc(tmp_path / "pairs.txt") == {
        "a/1.jpg": ["b.jpg", "c.jpg"],
        "b.jpg": ["a/1.jpg"],
        "c.jpg": ["b.jpg"],
    }


def test_colmap_has_each_pair_once(tmp_path):
    assert write_pairs(tmp_path / "pairs.txt", PAIRS, "colmap") == 3
    expected = [("a/1.jpg", "b.jpg"), ("a/1.jpg", "c.jpg"), ("c.jpg", "b.jpg")]
    assert read_as_colmap(tmp_path / "pairs.txt") == expected


@pytest.mark.parametrize("name", ["a b.jpg", "#a.jpg", "a\tb.jpg", "a\u00a0b.jpg"])
def test_names_that_a_list_cannot_hold_are_refused(tmp_path, name):
    with pytest.raises(ParamsError, match=r"pairs\.txt: cannot hold the name '.*' \(.*\); rename the photo$"):
        write_pairs(tmp_path / "pairs.txt", PAIRS.replace("c.jpg", name), "hloc")
    assert not list(tmp_path.iterdir())


def test_no_pairs_make_an_empty_list(tmp_path):
    assert write_pairs(tmp_path / "pairs.txt", PAIRS[:0], "colmap") == 0
    assert (tmp_path / "pairs.txt").read_text() == ""


def test_pairs_are_the_results_of_each_image_without_itself(words):
    searcher = Searcher(words / "index")
    found = find_pairs(searcher, 4)
    names = searcher.images["name"].tolist()
    assert found["query"].map(names.index).is_monotonic_increasing
    for _, rows in found.groupby("query"):
        assert len(rows) <= 4 and rows["score"].is_monotonic_decreasing and (rows["image"] != rows["query"]).all()
    batch = next(searcher.index.stored_queries())
    images, scores = searcher.index.rank(batch, None).of_query(3)
    expected = [(names[image], score) for image, score in zip(images, scores, strict=True) if image != 3 and score > 0]
    mine = found[found["query"] == names[3]]
    assert list(zip(mine["image"], mine["score"], strict=True)) == expected[:4]


def test_other_settings_are_refused(words):
    with pytest.raises(ParamsError, match=r"^top: 0 is below 1; ask for at least one image$"):
        find_pairs(Searcher(words / "index"), 0)
    with pytest.raises(ParamsError, match=r"^top: 0 is below 1; ask for at least one image$"):
        find_query_pairs(PhotoIndex(words / "index"), {}, 0)
    with pytest.raises(ParamsError, match=r"^--format xyz: unknown; choose from hloc, colmap$"):
        require_format("xyz")
