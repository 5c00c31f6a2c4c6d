"""Regional aggregation: the residuals of an image are aggregated region by region (Teichmann et al., CVPR 2019).

An image has R regions, one of which is the whole image. The residual sums of a region over all visual words are
L2-normalised as one vector. These vectors are summed over the regions and divided by R. Then each word has one posting:
its part of the sum, L2-normalised, or the signs of it. Words whose part is shorter than 1e-6 have no posting.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.retrieval.asmk.aggregation import BITS, Aggregated, check_arrays, columns

_SHORTEST = 1e-6

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int32]


def aggregate_regions(
    descriptors: npt.NDArray[np.floating[Any]],
    words: Integers,
    offsets: npt.NDArray[np.int64],
    region: Integers,
    region_counts: Integers,
    centroids: npt.NDArray[np.float32],
    *,
    binary: bool,
) -> Aggregated:
    """Aggregate the descriptors of each image by its regions; `lrcr.retrieval.asmk.aggregation.aggregate` without.

    Args:
        descriptors: of shape (N, D).
        words: the A words that each descriptor is assigned to, of shape (N, A).
        offsets: of shape (images + 1,); image i owns rows offsets[i]:offsets[i+1].
        region: the region of its image to which each descriptor belongs, of shape (N,).
        region_counts: R of each image, of shape (images,).
        centroids: of shape (words, D).
        binary: True: sign bits; False: L2-normalised sums.

    Raises:
        ArtifactError: the arrays contradict each other.
    """
    check_arrays(descriptors, words, offsets, centroids)
    found, vectors = [np.empty(0, np.int32)], [np.empty((0, centroids.shape[1]))]
    for image, (start, end) in enumerate(pairwise(offsets)):
        rows = slice(start, end)
        own = regional_residuals(descriptors[rows], words[rows], region[rows], int(region_counts[image]), centroids)
        found.append(own[0])
        vectors.append(own[1])
    joined = np.concatenate(vectors)
    return Aggregated(
        words=np.concatenate(found),
        images=np.repeat(np.arange(len(offsets) - 1, dtype=np.uint32), [len(each) for each in found[1:]]),
        vectors=_signs(joined) if binary else joined.astype(np.float16),
        count=len(offsets) - 1,
        dim=centroids.shape[1],
        assigned=words.size,
    )


def regional_residuals(
    descriptors: npt.NDArray[np.floating[Any]],
    words: Integers,
    region: Integers,
    regions: int,
    centroids: npt.NDArray[np.float32],
) -> tuple[Integers, Floats]:
    """The words of one image, ascending, of shape (W,), and their aggregated residuals: unit vectors of shape (W, D).

    Args:
        regions: R; regions without descriptors count.
    """
    assigned = np.repeat(np.arange(len(words)), words.shape[1])
    residuals = descriptors[assigned].astype(np.float64) - centroids[words.ravel()]
    # A key is a region and a word in it.
    keys, sums = _sum_by_key(region[assigned].astype(np.int64) * len(centroids) + words.ravel(), residuals)
    of_region = keys // len(centroids)
    energy = np.bincount(of_region, weights=(sums**2).sum(axis=1), minlength=regions)
    norms = np.sqrt(energy)[of_region]
    sums /= np.where(norms > 0, norms, 1.0)[:, None] * regions
    found, totals = _sum_by_key(keys % len(centroids), sums)
    lengths = np.linalg.norm(totals, axis=1)
    kept = lengths >= _SHORTEST
    return found[kept].astype(np.int32), totals[kept] / lengths[kept, None]


def _sum_by_key(keys: npt.NDArray[np.int64], rows: Floats) -> tuple[npt.NDArray[np.int64], Floats]:
    """The different keys, ascending, of shape (K,), and the sum of the rows of each, of shape (K, D)."""
    order = np.argsort(keys, kind="stable")
    different, starts = np.unique(keys[order], return_index=True)
    if not len(different):
        return different, rows
    return different, np.add.reduceat(rows[order], starts, axis=0)


def _signs(vectors: Floats) -> npt.NDArray[np.uint64]:
    """Sign bits as in `Aggregated`: vectors of shape (P, D) → (P, ⌈D/64⌉)."""
    width = columns(vectors.shape[1], binary=True)
    bits = np.zeros((len(vectors), width * BITS), bool)
    bits[:, : vectors.shape[1]] = vectors > 0
    packed: npt.NDArray[np.uint64] = np.packbits(bits, axis=1, bitorder="little").view("<u8").astype(np.uint64)
    return packed
