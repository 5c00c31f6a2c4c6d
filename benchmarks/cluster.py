"""Sharded search of drawn postings: two processes compared with one, the merging of 100 shards, and Ray with processes.

Needs 2 GB of disk, removed afterwards, and two idle cores. Without Ray its overhead is not measured, and a row says so.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.postings import draw_images
from benchmarks.timing import ratio, seconds
from benchmarks.values import Value
from lrcr.config.params import Params
from lrcr.config.retrieval import SearchParams
from lrcr.data.ranking import Ranking
from lrcr.retrieval.asmk.aggregation import Aggregated
from lrcr.retrieval.asmk.codebook import Codebook, save_codebook
from lrcr.retrieval.asmk.index import build_index
from lrcr.retrieval.asmk.segments import Layout
from lrcr.retrieval.build import complete_index
from lrcr.retrieval.images import typed
from lrcr.retrieval.layout import CODEBOOK
from lrcr.retrieval.sharded.actors import RayWorker
from lrcr.retrieval.sharded.merging import merge_rankings
from lrcr.retrieval.sharded.processes import ProcessWorker
from lrcr.retrieval.sharded.searcher import ShardedSearcher
from lrcr.retrieval.sharded.shard import Source, Worker
from lrcr.storage.artifacts import Manifest

_IMAGES, _FEW_IMAGES, _PART = 200_000, 2000, 1000
_PER_IMAGE, _WORDS, _DIM, _SKEW = 395, 65536, 128, 0.5
_QUERIES, _QUERY_WORDS, _TOP = 40, 1700, 100
_SHARDS = 100


def run() -> Iterator[Value]:
    """Each worker has one thread; a query has as many words as five-fold assignment gives it."""
    rng = np.random.default_rng(0)
    queries = draw_images(rng, _QUERIES, _QUERY_WORDS, _WORDS, _DIM, skew=_SKEW)
    with tempfile.TemporaryDirectory() as name:
        folder = _build(Path(name, "index"), _IMAGES)
        with _open(folder, 1) as one, _open(folder, 2) as two:
            np.testing.assert_array_equal(one.rank(queries, _TOP).score, two.rank(queries, _TOP).score)
            speed = ratio(lambda: one.rank(queries, _TOP), lambda: two.rank(queries, _TOP), rounds=5, fast_repeats=1)
            yield Value("throughput of two workers relative to one", speed, at_least=1.7)
            each = 1000 * seconds(lambda: two.rank(queries, _TOP), 3) / _QUERIES
            yield Value(f"two workers: ms a query of a batch, {_IMAGES} images", each)
    yield from _merge(rng)
    with tempfile.TemporaryDirectory() as name:
        yield from _compare_with_ray(_build(Path(name, "index"), _FEW_IMAGES), _take(queries, 0))


def _merge(rng: np.random.Generator) -> Iterator[Value]:
    for queries in (1, _QUERIES):
        lists = [_draw_ranking(rng, shard, queries) for shard in range(_SHARDS)]
        each = 1000 * seconds(lambda lists=lists: merge_rankings(lists, _TOP), 9) / queries  # type: ignore[misc]
        yield Value(f"merging the best {_TOP} of {_SHARDS} shards, ms a query, {queries} at a time", each)


def _compare_with_ray(folder: Path, query: Aggregated) -> Iterator[Value]:
    """The time of a single query on an index so small that the search itself takes almost none of it."""
    with _open(folder, 2) as processes:
        whole = 1000 * seconds(lambda: processes.index.rank(query, _TOP), 51)
        own = 1000 * seconds(lambda: processes.rank(query, _TOP), 51)
        yield Value("overhead of a query by two processes, ms", own - whole)
        installed = find_spec("ray") is not None
        yield Value("Ray is installed (0: no, so that its overhead is not measured)", float(installed))
        if installed:
            with _open(folder, 2, RayWorker) as actors:
                other = 1000 * seconds(lambda: actors.rank(query, _TOP), 51)
                yield Value("overhead of a query of Ray relative to processes, ms", other - own)


def _open(folder: Path, shards: int, worker: Callable[[Source], Worker] = ProcessWorker) -> ShardedSearcher:
    opened = ShardedSearcher(folder, SearchParams(), shards=shards, threads=1, worker=worker)
    query = draw_images(np.random.default_rng(1), 1, _QUERY_WORDS, _WORDS, _DIM)
    opened.rank(query, 1)  # compiled functions are loaded
    return opened


def _build(folder: Path, images: int) -> Path:
    """An index of two segments, with all that a searcher opens."""
    folder.mkdir()
    source, layout = folder.parent, Layout(_WORDS, _DIM, binary=True)
    (source / CODEBOOK).mkdir()
    centroids = np.random.default_rng(2).standard_normal((_WORDS, _DIM), np.float32)
    save_codebook(source / CODEBOOK, Codebook(centroids), Manifest("codebook", {}, {}))
    (source / "model").write_bytes(b"weights")
    half = images // 2 * _PER_IMAGE * layout.posting_bytes
    build_index(folder, _draw(images), layout, params={}, inputs={}, memory=half)
    names = [f"{image:07}" for image in range(images)]
    rows: dict[str, Any] = {"image": range(images), "name": names, "path": names, "width": 1, "height": 1, "root": 0}
    table = typed(pd.DataFrame({**rows, "label": None, "sha256": names}))
    complete_index(folder, Params(), source / "model", source / CODEBOOK, table, source)
    return folder


def _draw(images: int) -> Iterator[Aggregated]:
    for part in range(images // _PART):
        yield draw_images(np.random.default_rng(part), _PART, _PER_IMAGE, _WORDS, _DIM, skew=_SKEW)


def _draw_ranking(rng: np.random.Generator, shard: int, queries: int) -> Ranking:
    """The best images of a shard of a million."""
    images: Sequence[Any] = [
        shard * 10**6 + np.sort(rng.choice(10**6, _TOP, replace=False)).astype(np.int64) for _ in range(queries)
    ]
    return Ranking.from_queries(images, [np.sort(rng.random(_TOP, np.float32))[::-1] for _ in range(queries)])


def _take(queries: Aggregated, query: int) -> Aggregated:
    own = slice(*queries.offsets[query : query + 2])
    return Aggregated(queries.words[own], queries.images[own] * 0, queries.vectors[own], 1, queries.dim)
