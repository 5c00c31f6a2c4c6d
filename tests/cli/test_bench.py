"""`lrcr bench`."""

import json

import pytest

from lrcr.cli.bench import _MEANING
from lrcr.retrieval.searcher import Searcher

from .command import lrcr, refuse, rows


@pytest.mark.parametrize("kind", ["index", "global_index"])
def test_bench_measures_an_index(kind, request):
    folder = request.getfixturevalue(kind)
    speed = json.loads(lrcr("bench", folder, "--queries", 3, "--json"))
    assert set(speed) <= set(_MEANING) and {"open_ms", "query_ms", "batch_ms"} <= set(speed)
    assert min(speed.values()) > 0
    if kind == "index":
        assert speed["bytes_per_posting"] > 12, "an id of 4 bytes and a code of 8"
        assert 1 <= speed["postings"] <= 12 * 16, "at most every word of every image"
    else:
        assert speed["bytes_per_image"] == pytest.approx(Searcher(folder).index.manifest.facts["bytes_per_image"])
    head, *table = lrcr("bench", folder, "--queries", 3).splitlines()[1:]
    assert f"{Searcher(folder).index.summary}; 3 queries" in head
    assert [name for name, _ in rows("\n".join(table))] == [_MEANING[name] for name in speed]


def test_no_index(tmp_path):
    assert "no such file" in refuse("bench", tmp_path / "none")
