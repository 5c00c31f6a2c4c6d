"""Search of 100,000 images compared with only reading the posting lists that the search reads."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numba
import numpy as np

from benchmarks.postings import draw_images
from benchmarks.values import Value
from lrcr.retrieval.asmk.index import build_index, open_index
from lrcr.retrieval.asmk.segments import Layout
from lrcr.retrieval.asmk.speed import measure

_IMAGES, _PER_IMAGE, _WORDS, _DIM = 100_000, 690, 65536, 128
_QUERIES, _QUERY_WORDS, _TOP = 20, 3000, 100


def run() -> Iterator[Value]:
    """Time both in turns on two threads, first with plain ids, then with packed ids."""
    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
    rng = np.random.default_rng(0)
    queries = draw_images(rng, _QUERIES, _QUERY_WORDS, _WORDS, _DIM)
    for packed in (False, True):
        parts = (draw_images(np.random.default_rng(i), _IMAGES // 10, _PER_IMAGE, _WORDS, _DIM) for i in range(10))
        with tempfile.TemporaryDirectory() as folder:
            layout = Layout(_WORDS, _DIM, binary=True, packed=packed)
            build_index(Path(folder), parts, layout, params={}, inputs={}, memory=2**33)
            index = open_index(Path(folder))
            assert len(index.segments) == 1, "both must read the same lists, so there must be one segment"
            speed = measure(index, queries, alpha=3.0, tau=0.0, idf=False, top=_TOP)
        ids = "packed ids" if packed else "plain ids"
        target = None if packed else 1.8
        yield Value(f"search time relative to reading, {ids}", speed.search_ns / speed.read_ns, at_most=target)
        yield Value(f"search, {ids}, ns per posting", speed.search_ns)
        yield Value(f"reading, {ids}, ns per posting", speed.read_ns)
        yield Value(f"search, {ids}, ms per query", speed.batch_ms)
        yield Value(f"bytes per posting, {ids}", speed.bytes_per_posting)
