"""The compiled loops of the search: each query visits the postings of its words and sums their similarities by image.

The work is divided into queries and spans of images. Each score is summed by one thread, word after word, in float64;
therefore scores depend neither on the number of threads nor on the spans. Ids in a file are not trusted: an id beyond
the segment is counted, and nothing is written for it.
"""

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from lrcr.retrieval.asmk.lists import Lists
from lrcr.retrieval.asmk.packing import BLOCK, first_id, next_block, unpack_block
from lrcr.retrieval.asmk.prefetch import prefetch_rows
from lrcr.retrieval.asmk.similarity import Similarity, Window, add_codes, add_residuals
from lrcr.runtime.jit import parallel, serial

AT_ONCE = 2**16
"""Number of images whose sums are held at a time: 512 KiB, which fit the cache of a core."""

_AHEAD = 2  # lists between the prefetch of a list and its use


class Queries(NamedTuple):
    """The postings of the queries.

    Args:
        offsets: of shape (queries + 1,); query q has the postings offsets[q]:offsets[q+1].
        words: of shape (P,).
        codes: sign bits, of shape (P, ⌈D/64⌉), or empty.
        residuals: float32 of shape (P, D), or empty.
        scale: 1 / √Σω over the words of each query, of shape (queries,); 0 for a query without words.
    """

    offsets: npt.NDArray[np.int64]
    words: npt.NDArray[np.int32]
    codes: npt.NDArray[np.uint64]
    residuals: npt.NDArray[np.float32]
    scale: npt.NDArray[np.float64]


@parallel
def score_segment(
    queries: Queries,
    lists: Lists,
    similarity: Similarity,
    base: int,
    spans: int,
    scores: npt.NDArray[np.float32],
    at_once: int,
) -> int:
    """Write the score of every query with every image of one segment.

    Args:
        base: id of the segment's first image.
        spans: number of spans of images into which the work of a query is divided; does not change the result.
        scores: of shape (queries, images), at least base + images of the segment.
        at_once: number of images whose sums are held at a time; does not change the result.

    Returns:
        The number of visited postings with an image id beyond the segment.
    """
    invalid = 0
    count = len(lists.norm)
    for task in numba.prange((len(queries.offsets) - 1) * spans):
        query, span = task // spans, task % spans
        first, last = count * span // spans, count * (span + 1) // spans
        begin, end = queries.offsets[query], queries.offsets[query + 1]
        # Where to continue in the list of each word: a posting; of packed ids the first posting of a block, and where
        # the block starts.
        at, block = np.empty(end - begin, np.int64), np.empty(end - begin, np.int64)
        _seek(lists, queries.words[begin:end], first, at, block)
        sums = np.empty(min(at_once, last - first))
        for low in range(first, last, at_once):
            window = (low, min(low + at_once, last), count)
            sums[:] = 0
            invalid += _add_lists(queries, query, lists, similarity, window, sums, at, block)
            for image in range(low, window[1]):
                norm = lists.norm[image]
                scores[query, base + image] = sums[image - low] * queries.scale[query] / norm if norm > 0 else 0.0
    return invalid


@serial
def _seek(
    lists: Lists, words: npt.NDArray[np.int32], low: int, at: npt.NDArray[np.int64], block: npt.NDArray[np.int64]
) -> None:
    """Write for each word a posting before which its list has only images < low, and where its packed block starts."""
    offsets, starts, images, packed = lists.offsets, lists.starts, lists.images, lists.packed
    for k in range(len(words)):
        first, end = offsets[words[k]], offsets[words[k] + 1]
        place, until = starts[words[k]], starts[words[k] + 1]
        if len(packed):
            while low > 0 and first + BLOCK < end:
                following = next_block(packed, place, until, BLOCK)
                if following < 0 or following >= until or first_id(packed, following) > low:
                    break
                first, place = first + BLOCK, following
        else:
            while low > 0 and first < end:
                middle = (first + end) // 2
                if images[middle] < low:
                    first = middle + 1
                else:
                    end = middle
        at[k], block[k] = first, place


@serial
def _add_lists(
    queries: Queries,
    query: int,
    lists: Lists,
    similarity: Similarity,
    window: Window,
    sums: npt.NDArray[np.float64],
    at: npt.NDArray[np.int64],
    block: npt.NDArray[np.int64],
) -> int:
    """Add the weighted similarities of one query and the images of a window to `sums`.

    Args:
        at, block: where to continue in the list of each word; updated for the next window.

    Returns:
        The number of postings with an image id beyond the segment.
    """
    # Local variables, because access to the tuples inside the loops would cost more than the loops themselves.
    words, weights, table = queries.words, similarity.weights, similarity.table
    alpha, tau = similarity.alpha, similarity.tau
    query_codes, query_residuals, codes, residuals = queries.codes, queries.residuals, lists.codes, lists.residuals
    offsets, images, packed, starts = lists.offsets, lists.images, lists.packed, lists.starts
    binary, is_packed, ids = len(codes) > 0, len(packed) > 0, np.empty(BLOCK, np.uint32)
    invalid, first = 0, queries.offsets[query]
    for k in range(len(at)):
        if k + _AHEAD < len(at):
            begin = at[k + _AHEAD]
            size = min(BLOCK, offsets[words[first + k + _AHEAD] + 1] - begin)
            prefetch_rows(codes, begin, size)
            if is_packed:
                prefetch_rows(packed, block[k + _AHEAD], size // 4)
            else:
                prefetch_rows(images, begin, size)
        row = first + k
        word = words[row]
        weight, end = weights[word], offsets[word + 1]
        while at[k] < end:
            # A piece of the list: ids[start:stop]; the vector of ids[i] is at i + shift.
            start, stop, shift, following = int(at[k]), int(end), 0, 0
            if is_packed:
                start, stop, shift = 0, min(BLOCK, end - at[k]), int(at[k])
                following = unpack_block(packed, block[k], starts[word + 1], stop, ids)
                if following < 0:
                    invalid, at[k] = invalid + 1, end
                    break
            piece = ids if is_packed else images
            if binary:
                done, more = add_codes(query_codes, row, codes, table, weight, window, sums, piece, start, stop, shift)
            else:
                done, more = add_residuals(
                    query_residuals, row, residuals, alpha, tau, weight, window, sums, piece, start, stop, shift
                )
            invalid += more
            if done < stop:
                if not is_packed:  # the next window reads a packed block again from its start
                    at[k] = done
                break
            at[k], block[k] = stop + shift, following
    return invalid
