"""Tentative matches of two images: local descriptors that are mutually nearest."""

from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.retrieval.rerank.nearest import Rows, nearest_codes, nearest_vectors


def match(
    a: npt.NDArray[Any], b: npt.NDArray[Any], min_similarity: float = -1.0, ratio: float = 1.0, bits: int | None = None
) -> tuple[Rows, Rows]:
    """Find the pairs of rows that are each other's nearest.

    Args:
        a: float32 of shape (N, D), unit rows; or codes, uint64 of shape (N, ⌈D/64⌉) (`lrcr.retrieval.local_encoder`).
        b: the same, of M rows.
        min_similarity: cosine below which a pair is no match.
        ratio: a pair is no match if the distance of the row of `a` to its second nearest row, times this, is smaller
            than to its nearest (Lowe, IJCV 2004); 1: every pair passes.
        bits: D of codes; None: a and b are unit rows.

    Returns:
        Rows of `a`, ascending, and the matching rows of `b`, each of shape (matches,).

    Example:
        >>> a = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
        >>> match(a, a[[1, 0]])
        (array([0, 1]), array([1, 0]))
    """
    if not len(a) or not len(b):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    in_b, best, second, in_a = nearest_vectors(a, b) if bits is None else nearest_codes(a, b, bits)
    matches = (in_a[in_b] == np.arange(len(a))) & (best >= min_similarity)
    if ratio < 1:
        matches &= 1 - best <= ratio**2 * (1 - second)  # half the squared distances
    found = np.flatnonzero(matches)
    return found, in_b[found]
