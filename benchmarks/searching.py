"""Search against `asmk`: 5,000 images of 690 words, from aggregated query to complete ranking."""

import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numba
import numpy as np

from benchmarks import peers
from benchmarks.bars import Value
from benchmarks.drawn import draw_images
from benchmarks.timing import ratio, seconds
from lrcr.asmk import Aggregated, Layout, build_index, open_index

_WORDS, _DIM, _QUERIES = 65536, 128, 70
_SEARCH: dict[str, Any] = {"alpha": 3.0, "tau": 0.0, "idf": False}


def run() -> Iterator[Value]:
    """Time single queries and a batch, after comparing the scores of both."""
    rng = np.random.default_rng(0)
    database = draw_images(rng, 5000, 690, _WORDS, _DIM)
    queries = draw_images(rng, _QUERIES, 690, _WORDS, _DIM)
    theirs = _peer(database, queries)
    single = [_query(queries, q) for q in range(_QUERIES)]
    with tempfile.TemporaryDirectory() as folder:
        build_index(Path(folder), [database], Layout(_WORDS, _DIM, True), params={}, inputs={})
        index = open_index(Path(folder))
        _, scores, _ = index.search(queries, **_SEARCH)
        np.testing.assert_allclose(scores.reshape(_QUERIES, -1)[:5], [theirs(q)[1] for q in range(5)], atol=1e-5)

        def one_by_one() -> None:
            for query in single[:10]:
                index.search(query, **_SEARCH)

        yield Value(
            "one query at a time, times asmk",
            ratio(lambda: [theirs(q) for q in range(10)], one_by_one, rounds=3),
            at_least=50,
        )
        yield Value("one query at a time, ms", seconds(one_by_one, 5) * 100)
        numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
        batch = ratio(lambda: [theirs(q) for q in range(_QUERIES)], lambda: index.search(queries, **_SEARCH), rounds=3)
        yield Value("batch of 70 queries on 2 threads, times asmk", batch, at_least=90)


def _peer(database: Aggregated, queries: Aggregated) -> Callable[[int], Any]:
    """The peer's search for one of the queries."""
    inverted, kernel = peers.empty_inverted_file(_WORDS), peers.kernel(np.zeros((_WORDS, _DIM), np.float32))
    inverted.add(peers.pack(database), database.words, database.images.astype(np.int64))
    codes = peers.pack(queries)

    def similarity(*arrays: Any) -> Any:
        return kernel.similarity(*arrays, alpha=3.0, similarity_threshold=0.0)

    bounds = list(pairwise(queries.offsets))

    def search(query: int) -> Any:
        own = slice(*bounds[query])
        return inverted.search(codes[own], queries.words[own], similarity_func=similarity, topk=None)

    return search


def _query(queries: Aggregated, query: int) -> Aggregated:
    own = slice(*queries.offsets[query : query + 2])
    return Aggregated(queries.words[own], queries.images[own] * 0, queries.vectors[own], 1, queries.dim)
