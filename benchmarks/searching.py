"""Search compared with `asmk`: 5,000 images of 690 words, from aggregated query to complete ranking.

A query has 3,000 words: as many as 1,000 descriptors give when each is assigned to five words.
"""

import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numba
import numpy as np

from benchmarks import peers
from benchmarks.postings import draw_images
from benchmarks.timing import ratio, seconds
from benchmarks.values import Value
from lrcr.retrieval.asmk.aggregation import Aggregated
from lrcr.retrieval.asmk.index import build_index, open_index
from lrcr.retrieval.asmk.segments import Layout

_WORDS, _DIM = 65536, 128
_QUERIES, _QUERY_WORDS = 70, 3000
_SEARCH: dict[str, Any] = {"alpha": 3.0, "tau": 0.0, "idf": False}


def run() -> Iterator[Value]:
    """With uniform word frequencies, for which the targets are set, and with skewed ones, as in real photos."""
    yield from _compare(0.0, "uniform words", single=50, batch=90)
    yield from _compare(0.5, "skewed words")


def _compare(skew: float, drawn: str, *, single: float | None = None, batch: float | None = None) -> Iterator[Value]:
    """Compare the scores of both implementations, then time single queries and a batch."""
    rng = np.random.default_rng(0)
    database = draw_images(rng, 5000, 690, _WORDS, _DIM, skew=skew)
    queries = draw_images(rng, _QUERIES, _QUERY_WORDS, _WORDS, _DIM, skew=skew)
    theirs = _peer(database, queries)
    few = [_query(queries, q) for q in range(10)]
    with tempfile.TemporaryDirectory() as folder:
        build_index(Path(folder), [database], Layout(_WORDS, _DIM, True), params={}, inputs={})
        index = open_index(Path(folder))
        images, scores, _ = index.search(queries, **_SEARCH)
        for q, (ranks, expected) in enumerate(theirs(q) for q in range(5)):
            found = dict(zip(images.reshape(_QUERIES, -1)[q], scores.reshape(_QUERIES, -1)[q], strict=True))
            np.testing.assert_allclose([found[image] for image in ranks], expected, atol=1e-5)

        def their_few() -> None:
            for q in range(10):
                theirs(q)

        def our_few() -> None:
            for query in few:
                index.search(query, **_SEARCH)

        def our_batch() -> None:
            index.search(queries, **_SEARCH)

        numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
        times = ratio(their_few, our_few, rounds=7)
        yield Value(f"single queries, {drawn}: speed relative to asmk", times, at_least=single)
        times = ratio(their_few, our_batch, rounds=7) * _QUERIES / 10
        yield Value(f"batch of 70 queries on 2 threads, {drawn}: speed relative to asmk", times, at_least=batch)
        yield Value(f"single queries, {drawn}, ms per query", seconds(our_few, 9) * 100)
        yield Value(f"batch, {drawn}, ms per query", seconds(our_batch, 9) * 1000 / _QUERIES)


def _peer(database: Aggregated, queries: Aggregated) -> Callable[[int], Any]:
    """The search of `asmk` for one of the queries."""
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
