"""One million images of 395 postings: building, size, opening and search. Needs 15 GB of disk, removed afterwards."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numba
import numpy as np

from benchmarks import changes
from benchmarks.memory import watch_memory
from benchmarks.postings import draw_images
from benchmarks.values import Value
from lrcr.retrieval.asmk.aggregation import Aggregated
from lrcr.retrieval.asmk.index import build_index, open_index
from lrcr.retrieval.asmk.segments import Layout
from lrcr.retrieval.asmk.speed import draw_queries, measure

_IMAGES, _PER_IMAGE, _WORDS, _DIM, _SKEW = 1_000_000, 395, 65536, 128, 0.5
_PART = 10_000
_QUERIES, _QUERY_WORDS, _TOP = 10, 1700, 100


def run() -> Iterator[Value]:
    """Postings are random, with skewed word frequencies; a query has as many words as five-fold assignment gives it."""
    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start = time.perf_counter()
        with watch_memory() as memory:
            layout = Layout(_WORDS, _DIM, binary=True, packed=True)
            build_index(folder, _draw(), layout, params={}, inputs={}, memory=2**32)
        yield Value("build time with drawing, min", (time.perf_counter() - start) / 60)
        yield Value("anonymous memory of the build, GiB", max(memory) / 2**30, at_most=8)
        index = open_index(folder)
        queries = draw_queries(index, _QUERIES, _QUERY_WORDS, np.random.default_rng(0))
        speed = measure(index, queries, alpha=3.0, tau=0.0, idf=False, top=_TOP)
        yield Value("bytes per posting on disk, all files", speed.bytes_per_posting, at_most=17.5)
        yield Value("open, ms", speed.open_ms, at_most=50)
        yield Value("single query on 2 threads, ms", speed.query_ms, at_most=250)
        yield Value("batch on 2 threads, ms per query", speed.batch_ms)
        yield Value("postings visited per query, millions", speed.postings / 1e6)
        yield Value("segments", len(index.segments))
    yield from changes.run(_IMAGES)


def _draw() -> Iterator[Aggregated]:
    for part in range(_IMAGES // _PART):
        yield draw_images(np.random.default_rng(part), _PART, _PER_IMAGE, _WORDS, _DIM, skew=_SKEW)
