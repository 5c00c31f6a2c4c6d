"""Tentative matches of two images: local descriptors that are mutually nearest."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]


def match(a: Floats, b: Floats, min_similarity: float = -1.0, ratio: float = 1.0) -> tuple[Rows, Rows]:
    """Find the pairs of rows that are each other's nearest.

    Args:
        a: of shape (N, D), unit rows.
        b: of shape (M, D), unit rows.
        min_similarity: cosine below which a pair is no match.
        ratio: a pair is no match if the distance of the row of `a` to its second nearest row, times this, is smaller
            than to its nearest (Lowe, IJCV 2004); 1: every pair passes.

    Returns:
        Rows of `a`, ascending, and the matching rows of `b`, each of shape (matches,).

    Example:
        >>> a = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
        >>> match(a, a[[1, 0]])
        (array([0, 1]), array([1, 0]))
    """
    if not len(a) or not len(b):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    cosines = a @ b.T
    rows = np.arange(len(a))
    nearest = cosines.argmax(axis=1)
    best = cosines[rows, nearest]
    matches = (cosines.argmax(axis=0)[nearest] == rows) & (best >= min_similarity)
    if ratio < 1:
        cosines[rows, nearest] = -1
        second = cosines.max(axis=1)
        matches &= 1 - best <= ratio**2 * (1 - second)  # half the squared distances
    found = np.flatnonzero(matches)
    return found, nearest[found]
