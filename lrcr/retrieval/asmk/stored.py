"""Reading stored postings back: their numbers by word and by image, and the postings of images in another order.

Ids in a file are not trusted: one beyond the segment is counted, and nothing is read or written for it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.errors import ArtifactError
from lrcr.retrieval.asmk.aggregation import Aggregated, columns
from lrcr.retrieval.asmk.lists import Lists, read_ids
from lrcr.retrieval.asmk.packing import BLOCK
from lrcr.retrieval.asmk.segments import Layout, Segment, as_bits
from lrcr.runtime.jit import serial
from lrcr.storage.arrays import REBUILD

Places = npt.NDArray[np.int64]

_PARTS = 4  # parts of the memory: a part waits in memory until a segment is full


def count_stored(segments: Sequence[Segment], places: Places, images: int, words: int) -> tuple[Places, Places]:
    """The numbers of postings of some stored images: by image, of shape (images,), and by word, of shape (words,).

    Args:
        places: new number of each stored image, below `images`; -1: the image is left out.

    Raises:
        ArtifactError: a segment holds image ids that are too large.
    """
    by_image, by_word = np.zeros(images, np.int64), np.zeros(words, np.int64)
    for segment in segments:
        own = places[segment.base : segment.base + segment.count]
        if _count(segment.lists, own, by_image, by_word):
            raise ArtifactError(f"{segment.folder}: image ids beyond its {segment.count} images; {REBUILD}")
    return by_image, by_word


def restore_parts(
    segments: Sequence[Segment], assigned: Sequence[float], layout: Layout, order: npt.NDArray[Any], memory: int
) -> Iterator[Aggregated]:
    """The postings of stored images in a given order, as `lrcr.retrieval.asmk.aggregation.aggregate` made them.

    Args:
        segments: in the order of their images.
        assigned: of each segment, the mean number of assignments that were summed to a posting.
        order: the place of each image among the stored images, of shape (images,); a place occurs at most once.
        memory: of the segments that are written from the parts, in bytes.

    Yields:
        Batches of consecutive images, at least one.

    Raises:
        ArtifactError: a segment is damaged.
    """
    places = np.full(sum(segment.count for segment in segments), -1, np.int64)
    places[order] = np.arange(len(order))
    counts, _ = count_stored(segments, places, len(order), layout.words)
    shares = np.repeat(assigned, [segment.count for segment in segments])[order]
    ends, most = np.cumsum(counts), max(1, memory // (_PARTS * layout.posting_bytes))
    first = 0
    while first < len(order) or first == 0:
        held = ends[first - 1] if first else 0
        last = min(len(order), max(first + 1, int(np.searchsorted(ends, held + most, side="right"))))
        chosen = np.where((places >= first) & (places < last), places - first, -1)
        summed = round(float((counts[first:last] * shares[first:last]).sum()))
        yield _restore(segments, chosen, counts[first:last], layout, summed)
        first = max(last, 1)


def _restore(segments: Sequence[Segment], places: Places, counts: Places, layout: Layout, assigned: int) -> Aggregated:
    """The postings of the images with a place, of which each has `counts` postings."""
    bounds = np.append(0, np.cumsum(counts))
    words = np.empty(bounds[-1], np.int32)
    vectors = np.empty((bounds[-1], columns(layout.dim, binary=layout.binary)), layout.dtype)
    free = bounds[:-1].copy()
    for segment in segments:
        own = places[segment.base : segment.base + segment.count]
        if (own >= 0).any():
            stored = segment.lists.codes if layout.binary else segment.lists.residuals
            _copy(segment.lists, stored, own, free, words, as_bits(vectors))
    images = np.repeat(np.arange(len(counts), dtype=np.uint32), counts)
    return Aggregated(words, images, vectors, len(counts), layout.dim, assigned)


@serial
def _count(lists: Lists, places: Places, by_image: Places, by_word: Places) -> int:
    """Add the numbers of postings of the images with a place; returns the number of damaged ids and blocks."""
    ids, invalid = np.empty(BLOCK, np.uint32), 0
    for word in range(len(lists.offsets) - 1):
        block, end = lists.starts[word], lists.offsets[word + 1]
        for first in range(lists.offsets[word], end, BLOCK):
            own = ids[: min(BLOCK, end - first)]
            block = read_ids(lists, word, first, block, own)
            if block < 0:
                invalid += 1
                break
            for image in own:
                if image >= len(places):
                    invalid += 1
                elif places[image] >= 0:
                    by_image[places[image]] += 1
                    by_word[word] += 1
    return invalid


@serial
def _copy(
    lists: Lists,
    stored: npt.NDArray[Any],
    places: Places,
    free: Places,
    words: npt.NDArray[np.int32],
    vectors: npt.NDArray[Any],
) -> None:
    """Copy the postings of the images with a place to the next free row of each; `_count` has counted the same ids."""
    ids = np.empty(BLOCK, np.uint32)
    for word in range(len(lists.offsets) - 1):
        block, end = lists.starts[word], lists.offsets[word + 1]
        for first in range(lists.offsets[word], end, BLOCK):
            own = ids[: min(BLOCK, end - first)]
            block = read_ids(lists, word, first, block, own)
            for i in range(len(own)):
                place = places[own[i]]
                if place >= 0:
                    row = free[place]
                    free[place] = row + 1
                    words[row] = word
                    for column in range(vectors.shape[1]):
                        vectors[row, column] = stored[first + i, column]
