"""The loops of the search: each query walks the postings of its words and adds what each posting is worth.

The work is cut by queries and by spans of images. A score is summed by one thread, word after word, in float64, so the
scores depend neither on the number of threads nor on the spans. Nothing in a file is trusted: an image beyond the
segment is counted, never written to.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numba
import numpy as np
import numpy.typing as npt

from lrcr.asmk.packing import BLOCK, unpack_block

SPAN = 2**16
"""Images whose sums are held at a time: 512 KiB, which stays in a core's own cache."""

_HALF_SCALE = np.float32(2.0**112)  # from the exponent of float16 to that of float32

Kernel = TypeVar("Kernel", bound=Callable[..., Any])
_parallel: Callable[[Kernel], Kernel] = numba.njit(cache=True, parallel=True)
_serial: Callable[[Kernel], Kernel] = numba.njit(cache=True)
_reassociated: Callable[[Kernel], Kernel] = numba.njit(cache=True, fastmath={"reassoc", "contract"})


class Queries(NamedTuple):
    """The postings of the queries.

    Args:
        offsets: of shape (queries + 1,); those of query q lie at offsets[q]:offsets[q+1].
        words: of shape (P,).
        codes: sign bits, of shape (P, ⌈D/64⌉), or empty.
        residuals: float32 of shape (P, D), or empty.
        scale: 1 / √Σω of each query's words, of shape (queries,), 0 where there are none.
    """

    offsets: npt.NDArray[np.int64]
    words: npt.NDArray[np.int32]
    codes: npt.NDArray[np.uint64]
    residuals: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float64]


class Lists(NamedTuple):
    """The inverted lists of a segment.

    Args:
        offsets: of shape (words + 1,); the postings of word w lie at offsets[w]:offsets[w+1].
        images: ids of shape (P,) counted from the segment's first image, or empty.
        packed: the same as `lrcr.asmk.packing` packs them, or empty.
        starts: of shape (words + 1,), where the ids of each word begin in `packed`.
        codes: sign bits, of shape (P, ⌈D/64⌉), or empty.
        residuals: the bits of float16, of shape (P, D), or empty.
        norm: √Σω of each image's words, of shape (images of the segment,).
    """

    offsets: npt.NDArray[np.int64]
    images: npt.NDArray[np.uint32]
    packed: npt.NDArray[np.uint64]
    starts: npt.NDArray[np.int64]
    codes: npt.NDArray[np.uint64]
    residuals: npt.NDArray[np.uint16]
    norm: npt.NDArray[np.float32]


class Similarity(NamedTuple):
    """How much a match of two postings counts.

    Args:
        table: from `similarities`, for sign bits.
        alpha, tau: σ(u) = u^alpha for u ≥ tau, else 0, for residuals.
        weights: ω of each word.
    """

    table: npt.NDArray[np.float64]
    alpha: float
    tau: float
    weights: npt.NDArray[np.float64]


def similarities(dim: int, alpha: float, tau: float) -> npt.NDArray[np.float64]:
    """σ of sign bits by their Hamming distance h: u^alpha where u = 1 − 2h/B ≥ tau, else 0.

    B is D rounded up to a multiple of 32, as in the reference. The table has an entry for every distance that the codes
    of shape (·, ⌈D/64⌉) can have, (64 ⌈D/64⌉ + 1,) in all, so that no damaged code reads beyond it.
    """
    bits = -(-dim // 32) * 32
    u = (bits - 2.0 * np.arange(-(-dim // 64) * 64 + 1)) / bits
    return np.where(u >= tau, np.maximum(u, 0) ** alpha, 0.0)


@_parallel
def score_segment(
    queries: Queries, lists: Lists, similarity: Similarity, base: int, spans: int, scores: npt.NDArray[np.float32]
) -> int:
    """Write the score of every query with every image of one segment.

    Args:
        base: the segment's first image.
        spans: into how many spans of images a query's work is cut; of no account to the result.
        scores: of shape (queries, images), at least base + images of the segment.

    Returns:
        How many postings met name images that the segment does not hold.
    """
    strays = 0
    count = len(lists.norm)
    for task in numba.prange((len(queries.offsets) - 1) * spans):
        query, span = task // spans, task % spans
        first, last = count * span // spans, count * (span + 1) // spans
        own = slice(queries.offsets[query], queries.offsets[query + 1])
        # Where each word's list goes on: its posting, and its block in the packed ids.
        posting = lists.offsets[queries.words[own]]
        place = lists.starts[queries.words[own]]
        for low in range(first, last, SPAN):
            sums = np.zeros(min(SPAN, last - low))
            strays += _walk(queries, own.start, lists, similarity, low, sums, posting, place)
            for i in range(len(sums)):
                norm = lists.norm[low + i]
                scores[query, base + low + i] = sums[i] * queries.scale[query] / norm if norm > 0 else 0.0
    return strays


@_serial
def _walk(
    queries: Queries,
    asked: int,
    lists: Lists,
    similarity: Similarity,
    low: int,
    sums: npt.NDArray[np.float64],
    posting: npt.NDArray[np.int64],
    place: npt.NDArray[np.int64],
) -> int:
    """Add to `sums` what the images low … low + len(sums) − 1 are worth to one query, from where its lists stand."""
    count, strays = len(lists.norm), 0
    ids = np.empty(BLOCK, np.uint32)
    worth = np.empty(BLOCK, np.float64)
    for k in range(len(posting)):
        word = queries.words[asked + k]
        end = lists.offsets[word + 1]
        while posting[k] < end:
            size = min(BLOCK, end - posting[k])
            following = _read_ids(lists, word, posting[k], place[k], size, ids)
            if following < 0:
                strays, posting[k] = strays + 1, end
                break
            if ids[size - 1] >= low:
                if ids[0] >= low + len(sums) and ids[0] < count:
                    break
                _weigh(queries, asked + k, lists, similarity, word, posting[k], size, worth)
                for i in range(size):
                    at = np.int64(ids[i]) - low
                    if 0 <= at < len(sums):
                        sums[at] += worth[i]
                    elif ids[i] >= count:
                        strays += 1
                if low + len(sums) <= ids[size - 1] < count:
                    break
            posting[k], place[k] = posting[k] + size, following
    return strays


@_serial
def _read_ids(lists: Lists, word: int, posting: int, place: int, size: int, ids: npt.NDArray[np.uint32]) -> int:
    """Write the ids of a block into `ids`; returns where the next block is packed, or −1 if this one is damaged."""
    if len(lists.packed):
        return unpack_block(lists.packed, place, lists.starts[word + 1], size, ids)
    ids[:size] = lists.images[posting : posting + size]
    return place


@_serial
def _weigh(
    queries: Queries,
    asked: int,
    lists: Lists,
    similarity: Similarity,
    word: int,
    first: int,
    size: int,
    worth: npt.NDArray[np.float64],
) -> None:
    """Write ω σ(u) of `size` postings from `first` on, against one posting of a query."""
    weight = similarity.weights[word]
    if len(lists.codes):
        _match_codes(queries.codes[asked], lists.codes[first : first + size], similarity.table, weight, worth)
    else:
        for i in range(size):
            u = _product(queries.residuals[asked], lists.residuals[first + i])
            worth[i] = weight * u**similarity.alpha if u >= similarity.tau else 0.0


@_serial
def _match_codes(
    code: npt.NDArray[np.uint64],
    codes: npt.NDArray[np.uint64],
    table: npt.NDArray[np.float64],
    weight: float,
    worth: npt.NDArray[np.float64],
) -> None:
    """Write weight × table[Hamming distance]; 64, 128 and 256 bits have loops that the compiler unrolls."""
    columns = codes.shape[1]
    if columns == 1:
        for i in range(len(codes)):
            worth[i] = weight * table[_popcount(code[0] ^ codes[i, 0])]
    elif columns == 2:
        for i in range(len(codes)):
            worth[i] = weight * table[_popcount(code[0] ^ codes[i, 0]) + _popcount(code[1] ^ codes[i, 1])]
    elif columns == 4:
        for i in range(len(codes)):
            low = _popcount(code[0] ^ codes[i, 0]) + _popcount(code[1] ^ codes[i, 1])
            high = _popcount(code[2] ^ codes[i, 2]) + _popcount(code[3] ^ codes[i, 3])
            worth[i] = weight * table[low + high]
    else:
        for i in range(len(codes)):
            distance = np.uint64(0)
            for c in range(columns):
                distance += _popcount(code[c] ^ codes[i, c])
            worth[i] = weight * table[distance]


@_serial
def _popcount(bits: np.uint64) -> np.uint64:
    """Set bits of a 64-bit word; the compiler knows this idiom and emits the machine's own instruction."""
    pairs = bits - ((bits >> np.uint64(1)) & np.uint64(0x5555555555555555))
    nibbles = (pairs & np.uint64(0x3333333333333333)) + ((pairs >> np.uint64(2)) & np.uint64(0x3333333333333333))
    octets = (nibbles + (nibbles >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (octets * np.uint64(0x0101010101010101)) >> np.uint64(56)


@_reassociated
def _product(vector: npt.NDArray[np.float32], halves: npt.NDArray[np.uint16]) -> float:
    """Inner product of float32 with the bits of finite float16: the compiled code for the CPU knows no float16."""
    bits = np.empty(len(halves), np.uint32)
    for d in range(len(halves)):
        half = np.uint32(halves[d])
        bits[d] = ((half & np.uint32(0x8000)) << np.uint32(16)) | ((half & np.uint32(0x7FFF)) << np.uint32(13))
    values = bits.view(np.float32)
    total = np.float32(0)
    for d in range(len(halves)):
        total += vector[d] * (values[d] * _HALF_SCALE)
    return np.float64(total)


@_serial
def add_weights(lists: Lists, weights: npt.NDArray[np.float64], sums: npt.NDArray[np.float64]) -> None:
    """Add to each image of a segment Σω over its words: `sums` of shape (images of the segment,)."""
    ids = np.empty(BLOCK, np.uint32)
    for word in range(len(lists.offsets) - 1):
        place = lists.starts[word]
        for first in range(lists.offsets[word], lists.offsets[word + 1], BLOCK):
            size = min(BLOCK, lists.offsets[word + 1] - first)
            place = _read_ids(lists, word, first, place, size, ids)
            if place < 0:
                break
            for image in ids[:size]:
                if image < len(sums):
                    sums[image] += weights[word]
