"""Aggregation: the residuals of one image in one visual word become one posting (Tolias et al., ICCV 2013)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt

from lrcr.errors import ArtifactError

BITS = 64
_NORM_FLOOR = 1e-6  # added to the norm, as in the reference, so that a residual of zero stays zero

Kernel = TypeVar("Kernel", bound=Callable[..., Any])
_parallel: Callable[[Kernel], Kernel] = numba.njit(cache=True, parallel=True)


@dataclass(frozen=True, eq=False)
class Aggregated:
    """The postings of a batch of images: by image, and by word within each image.

    Args:
        words: visual word of each posting, of shape (P,).
        images: its image's row number in the batch, of shape (P,), ascending.
        vectors: sign bits of the summed residual, uint64 of shape (P, ⌈D/64⌉), bit d % 64 of column d // 64 set
            where component d is above zero; or the residuals themselves, L2-normalised, float16 of shape (P, D).
        count: images in the batch, those without a posting included.
        dim: D.
    """

    words: npt.NDArray[np.int32]
    images: npt.NDArray[np.uint32]
    vectors: npt.NDArray[Any]
    count: int
    dim: int

    @property
    def binary(self) -> bool:
        """Whether the vectors are sign bits."""
        return self.vectors.dtype == np.uint64

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Where each image's postings begin and end, of shape (count + 1,)."""
        return np.searchsorted(self.images, np.arange(self.count + 1)).astype(np.int64)


def columns(dim: int, *, binary: bool) -> int:
    """Columns of the vectors of postings: ⌈D/64⌉ words of sign bits, or D components."""
    return -(-dim // BITS) if binary else dim


def aggregate(
    descriptors: npt.NDArray[np.floating[Any]],
    words: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
    centroids: npt.NDArray[np.float32],
    *,
    binary: bool,
) -> Aggregated:
    """Sum the residuals of each image and visual word; keep their signs or, not binary, their directions.

    Args:
        descriptors: of shape (N, D).
        words: of shape (N, A), the A words that each descriptor is assigned to.
        offsets: of shape (images + 1,); image i owns rows offsets[i]:offsets[i+1].
        centroids: of shape (words, D).

    Raises:
        ArtifactError: the arrays contradict each other.
    """
    _check(descriptors, words, offsets, centroids)
    count, assignment = len(offsets) - 1, words.shape[1]
    # One sort over (image, word) puts the members of a posting side by side.
    owners = np.repeat(np.arange(count, dtype=np.int64), np.diff(offsets) * assignment)
    keys = owners * len(centroids) + words.ravel()
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    starts = np.flatnonzero(np.diff(keys, prepend=-1))
    image, word = np.divmod(keys[starts], len(centroids))
    sums = np.zeros((len(starts), centroids.shape[1]))
    points = np.ascontiguousarray(descriptors, dtype=np.float32)
    _sum_residuals(points, order // assignment, np.append(starts, len(order)), word, centroids, sums)
    vectors = _pack_signs(sums) if binary else _normalise(sums)
    return Aggregated(word.astype(np.int32), image.astype(np.uint32), vectors, count, centroids.shape[1])


def _check(
    descriptors: npt.NDArray[np.floating[Any]],
    words: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
    centroids: npt.NDArray[np.float32],
) -> None:
    if descriptors.ndim != 2 or descriptors.shape[1] != centroids.shape[1]:
        expected = f"(N, {centroids.shape[1]})"
        raise ArtifactError(f"descriptors of shape {descriptors.shape}, not {expected}; extract them again")
    if words.ndim != 2 or len(words) != len(descriptors):
        raise ArtifactError(f"words of shape {words.shape} for {len(descriptors)} descriptors; assign them again")
    if words.size and not 0 <= words.min() <= words.max() < len(centroids):
        wrong = words.min() if words.min() < 0 else words.max()
        raise ArtifactError(f"word {wrong} is not in the codebook (0…{len(centroids) - 1}); assign them again")
    if not len(offsets) or offsets[0] != 0 or offsets[-1] != len(descriptors) or (np.diff(offsets) < 0).any():
        raise ArtifactError(f"offsets do not rise from 0 to the {len(descriptors)} descriptors; extract them again")


@_parallel
def _sum_residuals(
    descriptors: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    words: npt.NDArray[np.int64],
    centroids: npt.NDArray[np.float32],
    sums: npt.NDArray[np.float64],
) -> None:
    """Posting p sums, in float64 and in the order of the rows, the residuals of rows[starts[p]:starts[p+1]]."""
    for posting in numba.prange(len(words)):
        centroid = centroids[words[posting]]
        for member in range(starts[posting], starts[posting + 1]):
            row = rows[member]
            for d in range(sums.shape[1]):
                sums[posting, d] += np.float64(descriptors[row, d]) - np.float64(centroid[d])


def _pack_signs(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    """Bits where the sum is above zero, of shape (P, ⌈D/64⌉); those beyond D stay clear and never differ."""
    bits = np.zeros((len(sums), columns(sums.shape[1], binary=True) * BITS), dtype=np.bool_)
    bits[:, : sums.shape[1]] = sums > 0
    packed = np.packbits(bits, axis=1, bitorder="little")
    return packed.view("<u8").astype(np.uint64, copy=False)


def _normalise(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float16]:
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / (norms + _NORM_FLOOR), dtype=np.float16)
