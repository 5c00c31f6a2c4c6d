"""`lrcr search --shards`, by workers in the process of the tests; `tests/retrieval/sharded` starts processes."""

import csv
import json
import shutil

import pandas as pd
import pytest

from lrcr.retrieval.sharded.searcher import ShardedSearcher
from lrcr.retrieval.sharded.shard import Shard

from .command import lrcr, refuse, run


class Here(Shard):
    """A worker in this process; the one of the second shard can be lost."""

    ended = False

    def __init__(self, source):
        super().__init__(source)
        self.source = source

    def ask(self, *question):
        self.question = question

    def answer(self):
        if self.ended and self.source.number == 1:
            raise self.source.lost("the test took it away")
        return self.rank(*self.question)

    def close(self):
        pass


@pytest.fixture
def merged(index, tmp_path, monkeypatch):
    """An index of two segments: the photos, and the photos again under other names."""
    monkeypatch.setitem(ShardedSearcher.__init__.__kwdefaults__, "worker", Here)
    monkeypatch.setattr(Here, "ended", False)
    shutil.copytree(index, tmp_path / "b.index")
    lrcr("merge", index, tmp_path / "b.index", "-o", tmp_path / "all.index", "--prefix", "b/")
    return tmp_path / "all.index"


def test_shards_find_what_the_whole_index_finds_and_a_lost_one_is_told(merged, photos, tmp_path, monkeypatch, caplog):
    query = photos / "images/2/0.png"
    whole = lrcr("search", merged, query, "--json", "--top", 30)
    assert lrcr("search", merged, query, "--json", "--top", 30, "--shards", 2) == whole
    assert "unsearched" not in whole and '"b/2/0.png"' in whole
    line = refuse("search", merged, query, "--shards", 3)
    assert line == f"--shards: 3, but {merged} has 2 segments; give 1 to 2"
    alone = refuse("search", merged, query, "--allow-partial")
    assert alone == "--allow-partial: has no effect without --shards of at least 2; give both"
    monkeypatch.setattr(Here, "ended", True)
    lost = f"{merged}: shard 2 of 2 is lost: the test took it away; open the index again"
    assert refuse("search", merged, query, "--shards", 2) == lost
    code, out, _ = run("search", merged, query, "--json", "--top", 30, "--shards", 2, "--allow-partial")
    assert code == 0 and f"{lost} (12 of 24 images were not searched)" in caplog.text
    expected = [row | {"unsearched": 12} for row in json.loads(whole) if not row["image"].startswith("b/")]
    assert [row | {"rank": 0} for row in json.loads(out)] == [row | {"rank": 0} for row in expected]
    for name in ("csv", "parquet"):
        run("search", merged, query, "-o", tmp_path / f"found.{name}", "--top", 30, "--shards", 2, "--allow-partial")
    assert pd.read_parquet(tmp_path / "found.parquet")["unsearched"].eq(12).all()
    with (tmp_path / "found.csv").open(newline="") as lines:
        assert {row["unsearched"] for row in csv.DictReader(lines)} == {"12"}
