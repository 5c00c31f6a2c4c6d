"""The nearest local descriptors of two images, of each in the other: of unit vectors, or of codes.

Each kernel goes over the N × M similarities once. Of equally near rows the first is taken.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lrcr.retrieval.asmk.signs import popcount
from lrcr.runtime.jit import read_only, serial

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint64]
Rows = npt.NDArray[np.int64]

_ROW = 32  # bits of a key that hold a row; the others hold the distance, so the smallest key is the first nearest row
_ROWS = 2**_ROW - 1
_NONE = np.int64(2**63 - 1)


class Nearest(NamedTuple):
    """The nearest rows of `a` and `b`, with N and M ≥ 1 rows.

    Args:
        in_b: row of `b` that is nearest to each row of `a`, of shape (N,).
        best: its cosine, of shape (N,).
        second: cosine of the row of `b` that is nearest but for that one, of shape (N,); −1 if there is none.
        in_a: row of `a` that is nearest to each row of `b`, of shape (M,).
    """

    in_b: Rows
    best: Floats
    second: Floats
    in_a: Rows


def nearest_vectors(a: Floats, b: Floats) -> Nearest:
    """The nearest rows of unit vectors, of shape (N, D) and (M, D)."""
    cosines = a @ b.T
    rows, in_b = np.arange(len(a)), cosines.argmax(axis=1)
    best, in_a = cosines[rows, in_b], _largest_of_columns(cosines)
    cosines[rows, in_b] = -1
    return Nearest(in_b, best, cosines.max(axis=1), in_a)


def nearest_codes(a: Codes, b: Codes, dim: int) -> Nearest:
    """The nearest rows of codes of `dim` bits (`lrcr.retrieval.local_encoder`), of shape (N, words) and (M, words)."""
    in_b, best, second, in_a = _nearest_codes(read_only(a), read_only(np.ascontiguousarray(b.T)), dim)
    return Nearest(in_b, _cosines(best, dim), _cosines(second, dim), in_a)


def _cosines(distances: Rows, dim: int) -> Floats:
    """The cosines for which Hamming distances of `dim` bits stand."""
    cosines: Floats = np.cos(np.pi / dim * np.minimum(distances, dim)).astype(np.float32)
    return cosines


@serial
def _largest_of_columns(values: Floats) -> Rows:
    """The first row of the largest value of each column."""
    largest, rows = values[0].copy(), np.zeros(values.shape[1], np.int32)
    for row in range(1, len(values)):
        for column in range(values.shape[1]):
            larger = values[row, column] > largest[column]
            largest[column] = values[row, column] if larger else largest[column]
            rows[column] = row if larger else rows[column]
    return rows.astype(np.int64)


@serial
def _nearest_codes(a: Codes, b: Codes, dim: int) -> tuple[Rows, Rows, Rows, Rows]:
    """Rows and Hamming distances as those of `Nearest`; the distance is `dim` if there is no second row.

    The inner loops are simple, so that the compiler turns them into vector instructions.

    Args:
        a: of shape (N, ⌈D/64⌉).
        b: of shape (⌈D/64⌉, M).
    """
    keys, columns = np.empty(b.shape[1], np.int64), np.full(b.shape[1], _NONE)
    in_b, best, second = np.empty(len(a), np.int64), np.empty(len(a), np.int64), np.empty(len(a), np.int64)
    for row in range(len(a)):
        keys[:] = 0
        for word in range(min(a.shape[1], len(b))):
            bits = a[row, word]
            for column in range(len(keys)):
                keys[column] += np.int64(popcount(bits ^ b[word, column]))
        least = _NONE
        for column in range(len(keys)):
            shifted = keys[column] << _ROW
            columns[column] = min(columns[column], shifted | row)
            keys[column] = shifted | column
            least = min(least, keys[column])
        in_b[row], best[row] = least & _ROWS, least >> _ROW
        least, keys[in_b[row]] = np.int64(dim) << _ROW, _NONE
        for column in range(len(keys)):
            least = min(least, keys[column])
        second[row] = least >> _ROW
    return in_b, best, second, columns & _ROWS
