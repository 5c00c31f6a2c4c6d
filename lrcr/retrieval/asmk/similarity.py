"""The similarity σ of two postings, and the compiled loops that add it, for a piece of a list, to sums by image."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lrcr.retrieval.asmk.signs import popcount
from lrcr.runtime.jit import reassociated, serial

_HALF_SCALE = np.float32(2.0**112)  # 2^(127 − 15): the difference of the exponent biases of float32 and float16

Window = tuple[int, int, int]
"""The first image whose sum is held, the one after the last, and the number of images of the segment."""


class Similarity(NamedTuple):
    """The similarity of two postings.

    Args:
        table: for sign bits: σ(u) by Hamming distance, from `similarities`.
        alpha, tau: for residuals: σ(u) = u^alpha for u ≥ tau, else 0.
        weights: ω of each word.
    """

    table: npt.NDArray[np.float64]
    alpha: float
    tau: float
    weights: npt.NDArray[np.float64]


def similarities(dim: int, alpha: float, tau: float) -> npt.NDArray[np.float64]:
    """σ(u) of sign bits by their Hamming distance h: u^alpha if u = 1 − 2h/B ≥ tau, else 0.

    B is D rounded up to a multiple of 32, as in the reference. The table has an entry for every distance that two codes
    of ⌈D/64⌉ words can have, 64 ⌈D/64⌉ + 1 in all, so that a damaged code cannot cause a read beyond its end.
    """
    bits = -(-dim // 32) * 32
    u = (bits - 2.0 * np.arange(-(-dim // 64) * 64 + 1)) / bits
    return np.where(u >= tau, np.maximum(u, 0) ** alpha, 0.0)


@serial
def add_codes(
    query_codes: npt.NDArray[np.uint64],
    row: int,
    codes: npt.NDArray[np.uint64],
    table: npt.NDArray[np.float64],
    weight: float,
    window: Window,
    sums: npt.NDArray[np.float64],
    ids: npt.NDArray[np.uint32],
    start: int,
    stop: int,
    shift: int,
) -> tuple[int, int]:
    """Add weight × σ(u) of the sign bits query_codes[row] and codes[i + shift] to the sum of image ids[i].

    This is done for start ≤ i < stop, until an image is beyond the window. The loops over 128 and 256 bits are unrolled
    for the compiler.

    Returns:
        The first i whose image is beyond the window, or stop; and the number of ids beyond the segment.
    """
    low, high, count = window
    columns, invalid, held = codes.shape[1], 0, np.uint64(high - low)
    for i in range(start, stop):
        image = np.int64(ids[i])
        if np.uint64(image - low) < held:  # one comparison for low ≤ image < high
            posting = i + shift
            distance = popcount(query_codes[row, 0] ^ codes[posting, 0])
            if columns == 2:
                distance += popcount(query_codes[row, 1] ^ codes[posting, 1])
            elif columns == 4:
                distance += popcount(query_codes[row, 1] ^ codes[posting, 1])
                distance += popcount(query_codes[row, 2] ^ codes[posting, 2])
                distance += popcount(query_codes[row, 3] ^ codes[posting, 3])
            else:
                for c in range(1, columns):
                    distance += popcount(query_codes[row, c] ^ codes[posting, c])
            sums[image - low] += weight * table[distance]
        elif image >= count:
            invalid += 1
        elif image >= high:
            return i, invalid
    return stop, invalid


@serial
def add_residuals(
    query_residuals: npt.NDArray[np.float32],
    row: int,
    residuals: npt.NDArray[np.uint16],
    alpha: float,
    tau: float,
    weight: float,
    window: Window,
    sums: npt.NDArray[np.float64],
    ids: npt.NDArray[np.uint32],
    start: int,
    stop: int,
    shift: int,
) -> tuple[int, int]:
    """As `add_codes`, for residuals: float16 as bits."""
    low, high, count = window
    invalid = 0
    for i in range(start, stop):
        image = np.int64(ids[i])
        if low <= image < high:
            u = _product(query_residuals[row], residuals[i + shift])
            if u >= tau:
                sums[image - low] += weight * u**alpha
        elif image >= count:
            invalid += 1
        elif image >= high:
            return i, invalid
    return stop, invalid


@reassociated
def _product(vector: npt.NDArray[np.float32], halves: npt.NDArray[np.uint16]) -> float:
    """Inner product of float32 values and finite float16 values given as bits (numba has no float16 on the CPU)."""
    bits = np.empty(len(halves), np.uint32)
    for d in range(len(halves)):
        half = np.uint32(halves[d])
        bits[d] = ((half & np.uint32(0x8000)) << np.uint32(16)) | ((half & np.uint32(0x7FFF)) << np.uint32(13))
    values = bits.view(np.float32)
    total = np.float32(0)
    for d in range(len(halves)):
        total += vector[d] * (values[d] * _HALF_SCALE)
    return np.float64(total)
