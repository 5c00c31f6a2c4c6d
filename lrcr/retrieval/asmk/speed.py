"""Measuring the speed of a search, and for comparison the time of merely reading the same data."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from lrcr.retrieval.asmk.aggregation import Aggregated, columns
from lrcr.retrieval.asmk.index import Index, open_index
from lrcr.retrieval.asmk.lists import Lists
from lrcr.runtime.jit import parallel

_ROUNDS = 7


@dataclass(frozen=True)
class Speed:
    """Measurements with all threads of numba.

    Args:
        open_ms: time to open the index, whose files are in the page cache.
        query_ms: time of a single query.
        batch_ms: time of a query of a batch.
        search_ns, read_ns: time per visited posting of a batch, of the search and of only reading.
        postings: mean number of postings that a query visits.
        bytes_per_posting: size of the inverted file on disk, per posting.
    """

    open_ms: float
    query_ms: float
    batch_ms: float
    search_ns: float
    read_ns: float
    postings: float
    bytes_per_posting: float


def draw_queries(index: Index, count: int, words: int, rng: np.random.Generator) -> Aggregated:
    """Random queries of at most `words` different words each; a word is drawn in proportion to its postings."""
    used = sum((np.diff(segment.lists.offsets) for segment in index.segments), np.zeros(index.layout.words, np.int64))
    words = min(words, int((used > 0).sum()))
    # The smallest of exponential variables divided by weights are a weighted sample without replacement.
    keys = (rng.exponential(size=len(used)) / np.maximum(used, 1e-9) for _ in range(count))
    chosen = [np.sort(np.argsort(key)[:words]) for key in keys]
    shape = (count * words, columns(index.layout.dim, binary=index.layout.binary))
    vectors = rng.integers(0, 2**64, shape, np.uint64) if index.layout.binary else rng.normal(size=shape)
    owners = np.repeat(np.arange(count, dtype=np.uint32), words)
    found = np.concatenate([np.empty(0, np.int64), *chosen]).astype(np.int32)
    return Aggregated(found, owners, vectors.astype(index.layout.dtype), count, index.layout.dim)


def measure(index: Index, queries: Aggregated, *, alpha: float, tau: float, idf: bool, top: int) -> Speed:
    """Measure opening, single queries, the batch and reading, in turns; each figure is a median.

    Raises:
        ArtifactError: the queries do not fit the index.
    """
    singles = [_take(queries, query) for query in range(min(5, queries.count))]

    def search(some: Aggregated) -> None:
        index.search(some, alpha=alpha, tau=tau, idf=idf, top=top)

    def read() -> None:
        for segment in index.segments:
            read_lists(queries.offsets, queries.words, segment.lists, np.zeros(queries.count, np.uint64))

    def search_singles() -> None:
        for query in singles:
            search(query)

    search(queries)
    read()
    search_singles()
    steps = (lambda: open_index(index.folder), search_singles, lambda: search(queries), read)
    opened, single, batch, reading = np.median([[_seconds(step) for step in steps] for _ in range(_ROUNDS)], axis=0)
    lists = [np.diff(segment.lists.offsets)[queries.words].sum() for segment in index.segments]
    visited = max(1, int(np.sum(lists)))
    facts = index.manifest.facts
    size = sum(file["bytes"] for part in (*facts["segments"], facts["weights"]) for file in part["files"].values())
    return Speed(
        open_ms=opened * 1e3,
        query_ms=single * 1e3 / len(singles),
        batch_ms=batch * 1e3 / queries.count,
        search_ns=batch * 1e9 / visited,
        read_ns=reading * 1e9 / visited,
        postings=visited / queries.count,
        bytes_per_posting=size / max(1, facts["postings"]),
    )


def _take(queries: Aggregated, query: int) -> Aggregated:
    """One query of a batch."""
    own = slice(*queries.offsets[query : query + 2])
    return Aggregated(queries.words[own], np.zeros_like(queries.images[own]), queries.vectors[own], 1, queries.dim)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@parallel
def read_lists(
    offsets: npt.NDArray[np.int64], words: npt.NDArray[np.int32], lists: Lists, sums: npt.NDArray[np.uint64]
) -> None:
    """Sum the vectors and the ids (packed ids undecoded) of the lists that each query visits: `sums` (queries,)."""
    for query in numba.prange(len(sums)):
        images, packed, starts, bounds = lists.images, lists.packed, lists.starts, lists.offsets
        codes, residuals = lists.codes.reshape(-1), lists.residuals.reshape(-1)
        wide, long = lists.codes.shape[1], lists.residuals.shape[1]
        total = np.uint64(0)
        for row in range(offsets[query], offsets[query + 1]):
            first, end = bounds[words[row]], bounds[words[row] + 1]
            for place in range(first * wide, end * wide):
                total += codes[place]
            for place in range(first * long, end * long):
                total += np.uint64(residuals[place])
            if len(packed):
                for place in range(starts[words[row]], starts[words[row] + 1]):
                    total += packed[place]
            else:
                for posting in range(first, end):
                    total += np.uint64(images[posting])
        sums[query] = total
