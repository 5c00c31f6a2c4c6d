"""Compression of image ids: the ascending ids of a word, in blocks of bit-packed differences.

A block holds n ≤ 128 ids: a header (bits 0–31: the first id; bits 32–37: the width b of a difference in bits, at most
32) and ⌈(n − 1) b / 64⌉ words of 64 bits with the differences of consecutive ids, b bits each, lowest bits first.
"""

import numba
import numpy as np
import numpy.typing as npt

from lrcr.runtime.jit import parallel, serial

BLOCK = 128
_WIDEST = 32
_MASK32 = np.uint64(0xFFFFFFFF)
_ONE, _BITS = np.uint64(1), np.uint64(63)


def pack_ids(
    ids: npt.NDArray[np.uint32], offsets: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Pack the ids of all words.

    Args:
        ids: of shape (P,), ascending within each word.
        offsets: of shape (words + 1,): word w owns ids[offsets[w]:offsets[w+1]].

    Returns:
        The blocks of all words, one after the other, then one 64-bit word of padding; and where the blocks of each word
        start, of shape (words + 1,).
    """
    sizes = np.zeros(len(offsets), np.int64)
    _measure(ids, offsets, sizes[1:])
    starts = np.cumsum(sizes)
    packed = np.zeros(starts[-1] + 1, np.uint64)
    _pack(ids, offsets, starts, packed)
    return packed, starts


@serial
def _width(ids: npt.NDArray[np.uint32]) -> int:
    """The number of bits of the largest difference in a block."""
    union = np.uint32(0)
    for i in range(1, len(ids)):
        union |= ids[i] - ids[i - 1]
    width = 0
    while width < _WIDEST and union >> np.uint32(width):
        width += 1
    return width


@serial
def _words(count: int, width: int | np.int64) -> int:
    """The number of 64-bit words of a block of `count` ids, including its header."""
    return 1 + int((count - 1) * width + 63) // 64


@parallel
def _measure(ids: npt.NDArray[np.uint32], offsets: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> None:
    for word in numba.prange(len(sizes)):
        for first in range(offsets[word], offsets[word + 1], BLOCK):
            block = ids[first : min(first + BLOCK, offsets[word + 1])]
            sizes[word] += _words(len(block), _width(block))


@parallel
def _pack(
    ids: npt.NDArray[np.uint32],
    offsets: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    packed: npt.NDArray[np.uint64],
) -> None:
    for word in numba.prange(len(offsets) - 1):
        place = starts[word]
        for first in range(offsets[word], offsets[word + 1], BLOCK):
            block = ids[first : min(first + BLOCK, offsets[word + 1])]
            width = _width(block)
            packed[place] = np.uint64(block[0]) | (np.uint64(width) << np.uint64(32))
            for i in range(1, len(block)):
                difference = np.uint64(block[i] - block[i - 1])
                bit = (i - 1) * width
                at, shift = place + 1 + (bit >> 6), bit & 63
                packed[at] |= difference << np.uint64(shift)
                if shift + width > 64:
                    packed[at + 1] |= difference >> np.uint64(64 - shift)
            place += _words(len(block), width)


@serial
def first_id(packed: npt.NDArray[np.uint64], place: int) -> np.int64:
    """The first id of the block at `place`."""
    return np.int64(packed[place] & _MASK32)


@serial
def next_block(packed: npt.NDArray[np.uint64], place: int, end: int, count: int) -> int:
    """Where the block of `count` ids at `place` ends, and the next starts; −1 if it is damaged or ends beyond `end`."""
    if not 0 <= place < end < len(packed):
        return -1
    width = np.int64((packed[place] >> np.uint64(32)) & np.uint64(63))
    following = place + _words(count, width)
    return following if width <= _WIDEST and following <= end else -1


@serial
def unpack_block(packed: npt.NDArray[np.uint64], place: int, end: int, count: int, ids: npt.NDArray[np.uint32]) -> int:
    """Write the `count` ids of the block at `place` into `ids`, and return where the next block starts.

    The file is not trusted: the result is −1 if the block is damaged or ends beyond `end`.
    """
    following = next_block(packed, place, end, count)
    if following < 0:
        return -1
    image, width = np.uint32(packed[place] & _MASK32), np.int64((packed[place] >> np.uint64(32)) & np.uint64(63))
    ids[0] = image
    mask = (_ONE << np.uint64(width)) - _ONE
    for i in range(1, count):
        bit = (i - 1) * width
        at, shift = place + 1 + (bit >> 6), np.uint64(bit & 63)
        difference = (packed[at] >> shift) | ((packed[at + 1] << _ONE) << (_BITS - shift))
        image += np.uint32(difference & mask)
        ids[i] = image
    return following
