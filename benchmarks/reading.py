"""Search at 100,000 images beside the time that it takes only to read what the search reads."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from benchmarks.bars import Value
from benchmarks.drawn import draw_images
from benchmarks.timing import seconds
from lrcr.asmk import Aggregated, Layout, build_index, open_index
from lrcr.asmk.kernels import Lists

_IMAGES, _PER_IMAGE, _WORDS, _DIM = 100_000, 690, 65536, 128
_QUERIES, _QUERY_WORDS, _TOP = 20, 3000, 100
_ROUNDS = 7


def run() -> Iterator[Value]:
    """Both on two threads, in turns; once with ids as they are and once packed."""
    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))
    rng = np.random.default_rng(0)
    queries = draw_images(rng, _QUERIES, _QUERY_WORDS, _WORDS, _DIM)
    for packed in (False, True):
        parts = (draw_images(np.random.default_rng(i), _IMAGES // 10, _PER_IMAGE, _WORDS, _DIM) for i in range(10))
        with tempfile.TemporaryDirectory() as folder:
            layout = Layout(_WORDS, _DIM, binary=True, packed=packed)
            build_index(Path(folder), parts, layout, params={}, inputs={}, memory=2**33)
            yield from _compare(Path(folder), queries, "packed ids" if packed else "plain ids", None if packed else 1.8)


def _compare(folder: Path, queries: Aggregated, ids: str, bar: float | None) -> Iterator[Value]:
    index = open_index(folder)
    lists = index.segments[0].lists
    assert len(index.segments) == 1, "one segment, so that both read the same lists"
    visited = int(np.diff(lists.offsets)[queries.words].sum())

    def search() -> None:
        index.search(queries, alpha=3.0, tau=0.0, idf=False, top=_TOP)

    def read() -> None:
        _read(queries.offsets, queries.words, lists, np.zeros(_QUERIES, np.uint64))

    search()
    read()
    times = [(seconds(search), seconds(read)) for _ in range(_ROUNDS)]
    yield Value(f"search over reading, {ids}", median(a / b for a, b in times), at_most=bar)
    yield Value(f"search, {ids}, ns a posting", median(a for a, _ in times) / visited * 1e9)
    yield Value(f"reading, {ids}, ns a posting", median(b for _, b in times) / visited * 1e9)
    yield Value(f"search, {ids}, ms a query", median(a for a, _ in times) / _QUERIES * 1e3)


@numba.njit(cache=True, parallel=True)  # type: ignore[untyped-decorator]
def _read(offsets: npt.NDArray[np.int64], words: npt.NDArray[np.int32], lists: Lists, sums: npt.NDArray[Any]) -> None:
    """Add up the codes and the ids of the visited lists, packed ones as they lie."""
    for query in numba.prange(len(sums)):
        images, packed, starts, codes, bounds = lists.images, lists.packed, lists.starts, lists.codes, lists.offsets
        total = np.uint64(0)
        for row in range(offsets[query], offsets[query + 1]):
            word = words[row]
            for posting in range(bounds[word], bounds[word + 1]):
                total += codes[posting, 0] ^ codes[posting, 1]
            if len(packed):
                for place in range(starts[word], starts[word + 1]):
                    total += packed[place]
            else:
                for posting in range(bounds[word], bounds[word + 1]):
                    total += np.uint64(images[posting])
        sums[query] = total
