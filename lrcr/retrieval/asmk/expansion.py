"""Expansion of a query's postings by those of images that show the same thing.

In each word the sign vectors (or residuals) of the query and of the images are summed, as the descriptors of one image
are. Words that the query lacks are added where enough of the images have them: what only one image has is likely to be
its background. Tolias and Jégou (Pattern Recognition 2014) aggregate the descriptors of verified images in this way.
"""

import numpy as np
import numpy.typing as npt

from lrcr.retrieval.asmk.aggregation import Aggregated
from lrcr.retrieval.asmk.signs import pack_signs

_QUERY = 1.5  # weight of the query: it decides where as many images have a bit set as not


def expand_postings(query: Aggregated, images: Aggregated, agreeing: int) -> Aggregated:
    """Join the postings of a query with those of some images.

    Args:
        query: of one image.
        images: of the same kind, any number.
        agreeing: number of the images that must have a word which the query lacks.

    Returns:
        The postings of one image.
    """
    words, place = np.unique(np.concatenate([query.words, images.words]), return_inverse=True)
    own = np.isin(words, query.words)
    sums = np.zeros((len(words), query.dim), np.float32)
    np.add.at(sums, place, np.concatenate([_QUERY * _directions(query), _directions(images)]))
    counts = np.bincount(place[len(query.words) :], minlength=len(words))
    kept = own | (counts >= agreeing)
    vectors = pack_signs(sums[kept]) if query.binary else _normalised(sums[kept])
    return Aggregated(words[kept].astype(np.int32), np.zeros(int(kept.sum()), np.uint32), vectors, 1, query.dim)


def _directions(part: Aggregated) -> npt.NDArray[np.float32]:
    """The vectors of postings, of shape (P, D): −1 and 1 of sign bits, or the residuals."""
    if not part.binary:
        return part.vectors.astype(np.float32)
    bits = np.unpackbits(np.ascontiguousarray(part.vectors).view(np.uint8), axis=1, bitorder="little")
    return 2 * bits[:, : part.dim].astype(np.float32) - 1


def _normalised(sums: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    return (sums / np.where(norms > 0, norms, 1)).astype(np.float16)
