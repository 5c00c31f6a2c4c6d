"""Tentative matches of two images: local descriptors that are mutually nearest."""

from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.retrieval.asmk.kernels import popcount
from lrcr.runtime.jit import read_only, serial

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


def match(
    a: npt.NDArray[Any], b: npt.NDArray[Any], min_similarity: float = -1.0, ratio: float = 1.0, bits: int = 0
) -> tuple[Rows, Rows]:
    """Find the pairs of rows that are each other's nearest.

    Args:
        a: unit rows, float32 of shape (N, D); or codes, uint64 of shape (N, columns).
        b: of shape (M, …), as `a`.
        min_similarity: cosine below which a pair is no match. Codes that differ in a share s of their bits count as
            vectors at the angle π s (Charikar, STOC 2002).
        ratio: largest ratio of the distances of a row of `a` to its nearest and second nearest row (Lowe, IJCV 2004);
            1: every pair passes.
        bits: of a code; the bits behind them are equal in all codes.

    Returns:
        Rows of `a`, ascending, and the matching rows of `b`, each of shape (matches,).

    Example:
        >>> a = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
        >>> match(a, a[[1, 0]])
        (array([0, 1]), array([1, 0]))
    """
    if not len(a) or not len(b):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    nearest, best, second, back = _nearest_codes(a, b, bits) if a.dtype == np.uint64 else _nearest_vectors(a, b)
    matches = (back[nearest] == np.arange(len(a))) & (best >= min_similarity)
    if ratio < 1:
        matches &= 1 - best <= ratio**2 * (1 - second)  # half the squared distances of unit vectors
    found = np.flatnonzero(matches)
    return found, nearest[found]


def _nearest_vectors(a: Floats, b: Floats) -> tuple[Rows, Floats, Floats, Rows]:
    """The nearest row of `b` to each row of `a`, its cosine and that of the second nearest, and the nearest in `a`."""
    cosines = a @ b.T
    rows, nearest, back = np.arange(len(a)), cosines.argmax(axis=1), cosines.argmax(axis=0)
    best = cosines[rows, nearest]
    cosines[rows, nearest] = -1
    return nearest, best, cosines.max(axis=1), back


def _nearest_codes(
    a: npt.NDArray[np.uint64], b: npt.NDArray[np.uint64], bits: int
) -> tuple[Rows, Floats, Floats, Rows]:
    """As `_nearest_vectors`, of codes."""
    nearest, back = np.zeros(len(a), np.int64), np.zeros(len(b), np.int64)
    distances = np.zeros((len(a), 2), np.int64)
    _compare_codes(read_only(a), read_only(b), nearest, distances, back)
    best, second = np.cos(np.pi / bits * np.minimum(distances, bits).T).astype(np.float32)
    return nearest, best, second, back


@serial
def _compare_codes(
    a: npt.NDArray[np.uint64], b: npt.NDArray[np.uint64], nearest: Rows, distances: Rows, back: Rows
) -> None:
    """Write the nearest row and the two smallest Hamming distances of each row of `a`, and the nearest of each of `b`.

    Of rows at the same distance the first is the nearest. The smallest distance of a row of `b` is kept in `smallest`.
    """
    most = 64 * a.shape[1] + 1
    smallest = np.full(len(b), most, np.int64)
    for i in range(len(a)):
        first, second, place = np.int64(most), np.int64(most - 1), 0
        for j in range(len(b)):
            distance = np.int64(0)
            for column in range(a.shape[1]):
                distance += np.int64(popcount(a[i, column] ^ b[j, column]))
            if distance < smallest[j]:
                smallest[j], back[j] = distance, i
            if distance < first:
                if first < most:
                    second = first
                first, place = distance, j
            elif distance < second:
                second = distance
        nearest[i], distances[i, 0], distances[i, 1] = place, first, second
