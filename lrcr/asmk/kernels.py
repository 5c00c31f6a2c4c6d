"""The loops of the search: each query walks the postings of its words and adds what each posting is worth.

Queries run in parallel and each is summed by one thread, word after word, in float64: the scores do not depend on the
number of threads. The ids in a file are not trusted: an image beyond the segment is counted, never written to.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numba
import numpy as np
import numpy.typing as npt

Kernel = TypeVar("Kernel", bound=Callable[..., Any])
_parallel: Callable[[Kernel], Kernel] = numba.njit(cache=True, parallel=True)
_serial: Callable[[Kernel], Kernel] = numba.njit(cache=True)

# The value of each float16 bit pattern: compiled code for the CPU knows no float16.
_FLOATS = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float64)


class Postings(NamedTuple):
    """Postings by query or by word, as the kernels take them.

    Args:
        offsets: of shape (queries or words + 1,); those of i lie at offsets[i]:offsets[i+1].
        items: the other of the two: word ids, int32, or image ids, uint32, of shape (P,).
        vectors: of shape (P, columns): sign bits as uint64, or the bits of float16 residuals as uint16.
    """

    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[Any]
    vectors: npt.NDArray[Any]


def similarities(dim: int, alpha: float, tau: float) -> npt.NDArray[np.float64]:
    """σ of sign bits by their Hamming distance h: u^alpha where u = 1 − 2h/B ≥ tau, else 0.

    B is D rounded up to a multiple of 32, as in the reference. The table has an entry for every distance that the codes
    of shape (·, ⌈D/64⌉) can have, (64 ⌈D/64⌉ + 1,) in all, so that no damaged code reads beyond it.
    """
    bits = -(-dim // 32) * 32
    u = (bits - 2.0 * np.arange(-(-dim // 64) * 64 + 1)) / bits
    return np.where(u >= tau, np.maximum(u, 0) ** alpha, 0.0)


@_serial
def _popcount(bits: np.uint64) -> np.uint64:
    """Set bits of a 64-bit word; the compiler knows this idiom and emits the machine's own instruction."""
    pairs = bits - ((bits >> np.uint64(1)) & np.uint64(0x5555555555555555))
    nibbles = (pairs & np.uint64(0x3333333333333333)) + ((pairs >> np.uint64(2)) & np.uint64(0x3333333333333333))
    octets = (nibbles + (nibbles >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (octets * np.uint64(0x0101010101010101)) >> np.uint64(56)


@_parallel
def score_codes(
    queries: Postings,
    segment: Postings,
    weights: npt.NDArray[np.float64],
    similarity: npt.NDArray[np.float64],
    base: int,
    count: int,
    scores: npt.NDArray[np.float64],
) -> int:
    """Add Σ_w ω_w σ(u_w) of sign bits over one segment to `scores`.

    Args:
        queries: by query; the items are words.
        segment: by word; the items are images, counted from `base`.
        weights: ω of shape (words,).
        similarity: from `similarities`.
        base, count: first image of the segment and how many it holds.
        scores: of shape (queries, at least base + count); added to.

    Returns:
        How many postings met name images that the segment does not hold.
    """
    strays = 0
    for query in numba.prange(len(queries.offsets) - 1):
        for asked in range(queries.offsets[query], queries.offsets[query + 1]):
            word = queries.items[asked]
            for posting in range(segment.offsets[word], segment.offsets[word + 1]):
                image = np.int64(segment.items[posting])
                if image >= count:
                    strays += 1
                    continue
                distance = np.uint64(0)
                for c in range(segment.vectors.shape[1]):
                    distance += _popcount(queries.vectors[asked, c] ^ segment.vectors[posting, c])
                scores[query, base + image] += weights[word] * similarity[distance]
    return strays


@_parallel
def score_residuals(
    queries: Postings,
    segment: Postings,
    weights: npt.NDArray[np.float64],
    alpha: float,
    tau: float,
    base: int,
    count: int,
    scores: npt.NDArray[np.float64],
) -> int:
    """`score_codes` for vectors that are the bits of float16 residuals, with σ(u) = u^alpha for u ≥ tau, else 0."""
    strays = 0
    for query in numba.prange(len(queries.offsets) - 1):
        for asked in range(queries.offsets[query], queries.offsets[query + 1]):
            word = queries.items[asked]
            for posting in range(segment.offsets[word], segment.offsets[word + 1]):
                image = np.int64(segment.items[posting])
                if image >= count:
                    strays += 1
                    continue
                u = 0.0
                for d in range(segment.vectors.shape[1]):
                    u += _FLOATS[queries.vectors[asked, d]] * _FLOATS[segment.vectors[posting, d]]
                if u >= tau:
                    scores[query, base + image] += weights[word] * u**alpha
    return strays


@_serial
def add_weights(
    offsets: npt.NDArray[np.int64],
    images: npt.NDArray[np.uint32],
    weights: npt.NDArray[np.float64],
    sums: npt.NDArray[np.float64],
) -> None:
    """Add to each image of a segment Σω over its words: `sums` of shape (images of the segment,)."""
    for word in range(len(offsets) - 1):
        for posting in range(offsets[word], offsets[word + 1]):
            image = images[posting]
            if image < len(sums):
                sums[image] += weights[word]
