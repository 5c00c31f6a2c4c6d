"""K-means: Lloyd's algorithm, exact by faiss, or mostly with shortlists of words."""

from collections.abc import Iterator
from itertools import count
from typing import Protocol

import numba
import numpy as np
import numpy.typing as npt

from lrcr.retrieval.asmk.cells import FEW_WORDS, WordCells
from lrcr.runtime.jit import parallel, reassociated

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]

_SHORTLIST = 8  # words
_SEARCHED, _CANDIDATES = 16, 2  # of approximate search: cells, and candidates for each word
_SPLIT = 1e-3  # by which the halves of a split word differ, relative to the mean size of a component


class Nearest(Protocol):
    """Finds the words nearest to each descriptor."""

    def __call__(self, points: Floats, centroids: Floats, /) -> Ids:
        """The words nearest to each descriptor, nearest first, of shape (N, min(8, K)).

        Args:
            points: descriptors, of shape (N, D).
            centroids: of the words, of shape (K, D).
        """
        ...


def draw_words(points: Floats, number: int, seed: int) -> Floats:
    """The first words: random descriptors, those with which faiss's k-means starts.

    Args:
        points: descriptors, of shape (N, D).
        number: of words, at most N.
        seed: from 0 to 2³¹ − 1.
    """
    import faiss

    order = np.empty(len(points), np.int32)
    faiss.rand_perm(faiss.swig_ptr(order), len(order), seed + 1)  # type: ignore[attr-defined]
    return points[order[:number]]


def exact_kmeans(points: Floats, centroids: Floats, *, gpu: bool) -> Iterator[Floats]:
    """Yield the words after each iteration of k-means by faiss, which replaces a word that loses all descriptors.

    Args:
        points: descriptors, of shape (N, D).
        centroids: the first words, of shape (K, D); N ≥ K.
        gpu: whether faiss runs on GPUs, if there are any.
    """
    import faiss

    kmeans = faiss.Kmeans(
        points.shape[1],
        len(centroids),
        niter=1,
        min_points_per_centroid=1,
        max_points_per_centroid=len(points),
        gpu=gpu and hasattr(faiss, "get_num_gpus") and faiss.get_num_gpus() > 0,
    )
    while True:
        kmeans.train(points, init_centroids=centroids)
        centroids = np.array(kmeans.centroids, dtype=np.float32)
        yield centroids


def searches_all(iteration: int) -> bool:
    """Whether an iteration of `shortlist_kmeans`, from 1, searches all words: 1, 2, 4, 8, … do."""
    return iteration & (iteration - 1) == 0


def shortlist_kmeans(points: Floats, centroids: Floats, nearest: Nearest, first: int = 1) -> Iterator[Floats]:
    """Yield the words after each iteration; few iterations look for the words of a descriptor among all words.

    These are the iterations 1, 2, 4, 8, …; the others compare a descriptor with the words that were nearest to it in
    the last such one. Words move little between them, so the result is as good as that of exact iterations.

    Args:
        points: descriptors, of shape (N, D).
        centroids: the words before the first iteration, of shape (K, D); N ≥ K.
        nearest: finds the nearest words among all.
        first: the first iteration, one that searches all words.
    """
    shortlist, words = np.empty((0, 0), np.int32), np.empty(0, np.int32)
    for iteration in count(first):
        if not searches_all(iteration):
            words = shortlist[:, 0].copy()
            _assign(points, shortlist, centroids, words)
        else:
            shortlist = nearest(points, centroids)
            words = shortlist[:, 0]
        centroids = means(points, words, len(centroids))
        yield centroids


def means(points: Floats, words: Ids, number: int) -> Floats:
    """The mean of the descriptors of each word.

    A word without descriptors takes half of those of a large word: both get its mean, moved a little apart.

    Args:
        points: of shape (N, D).
        words: of each descriptor, of shape (N,).
        number: of words, K; at most N.

    Returns:
        Centroids, of shape (K, D).
    """
    order, offsets = _by_word(words, number)
    centroids = np.zeros((number, points.shape[1]), np.float32)
    _average(points, order, offsets, centroids)
    share = np.diff(offsets).astype(np.float64)
    rng, spread = np.random.default_rng(0), _SPLIT * np.abs(centroids).mean()
    for empty in np.flatnonzero(share == 0):
        largest = int(share.argmax())
        apart = (spread * rng.uniform(-1, 1, points.shape[1])).astype(np.float32)
        centroids[empty] = centroids[largest] + apart
        centroids[largest] -= apart
        share[empty] = share[largest] = share[largest] / 2
    return centroids


def _by_word(words: Ids, number: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The descriptors sorted by word, and where each word's begin: of shapes (N,) and (K + 1,)."""
    order = np.argsort(words, kind="stable")
    return order, np.searchsorted(words[order], np.arange(number + 1)).astype(np.int64)


def nearest_in_cells(points: Floats, centroids: Floats) -> Ids:
    """As `nearest_of_all`, but approximately and eight times as fast: each time in new cells (`WordCells`)."""
    if len(centroids) < FEW_WORDS:
        return nearest_of_all(points, centroids)
    return (
        WordCells(centroids, min(1, _SEARCHED / len(centroids) ** 0.5))
        .search(points, _SHORTLIST, _CANDIDATES)
        .astype(np.int32)
    )


def nearest_of_all(points: Floats, centroids: Floats) -> Ids:
    """The words nearest to each descriptor by comparison with all: (N, D) and (K, D); see `Nearest`."""
    import faiss

    index = faiss.IndexFlatL2(centroids.shape[1])
    index.add(centroids)
    return np.asarray(index.search(points, min(_SHORTLIST, len(centroids)))[1], np.int32)


@parallel
def _assign(points: Floats, shortlist: Ids, centroids: Floats, words: Ids) -> None:
    """Write the nearest word of each descriptor among those of its shortlist."""
    for i in numba.prange(len(points)):
        least = np.float32(np.inf)
        for word in shortlist[i]:
            distance = _squared_distance(points[i], centroids[word])
            if distance < least:
                least, words[i] = distance, word


@reassociated
def _squared_distance(a: Floats, b: Floats) -> np.float32:
    total = np.float32(0)
    for d in range(len(a)):
        difference = a[d] - b[d]
        total += difference * difference
    return total


@parallel
def _average(points: Floats, order: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], centroids: Floats) -> None:
    """Write the mean of the descriptors order[offsets[w]:offsets[w + 1]] of each word w that has some."""
    dim = points.shape[1]
    for word in numba.prange(len(centroids)):
        first, last = offsets[word], offsets[word + 1]
        if first == last:
            continue
        total = np.zeros(dim, np.float64)
        for row in range(first, last):
            for d in range(dim):
                total[d] += points[order[row], d]
        for d in range(dim):
            centroids[word, d] = total[d] / (last - first)
