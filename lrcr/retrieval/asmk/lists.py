"""The inverted lists of a segment, as compiled functions take them."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lrcr.retrieval.asmk.packing import unpack_block
from lrcr.runtime.jit import serial


class Lists(NamedTuple):
    """The inverted lists of a segment.

    Args:
        offsets: of shape (words + 1,); word w has the postings offsets[w]:offsets[w+1].
        images: image ids of shape (P,), relative to the first image of the segment, or empty.
        packed: the same ids, packed by `lrcr.retrieval.asmk.packing`, or empty.
        starts: of shape (words + 1,), where the ids of each word start in `packed`.
        codes: sign bits, of shape (P, ⌈D/64⌉), or empty.
        residuals: float16 as bits, of shape (P, D), or empty.
        norm: √Σω over the words of each image, of shape (images of the segment,).
    """

    offsets: npt.NDArray[np.int64]
    images: npt.NDArray[np.uint32]
    packed: npt.NDArray[np.uint64]
    starts: npt.NDArray[np.int64]
    codes: npt.NDArray[np.uint64]
    residuals: npt.NDArray[np.uint16]
    norm: npt.NDArray[np.float32]


@serial
def read_ids(lists: Lists, word: int, first: int, block: int, ids: npt.NDArray[np.uint32]) -> int:
    """Write the image ids of the postings from `first` on, of one block of a word, to `ids`.

    Args:
        block: where the block starts in `packed`.

    Returns:
        Where the next block starts; < 0 if this one is damaged.
    """
    if len(lists.packed):
        return unpack_block(lists.packed, block, lists.starts[word + 1], len(ids), ids)
    ids[:] = lists.images[first : first + len(ids)]
    return block
