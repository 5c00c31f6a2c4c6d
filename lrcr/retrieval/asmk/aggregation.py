"""Aggregation: the residuals of an image in a visual word are summed to one posting (Tolias et al., ICCV 2013)."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from lrcr.errors import ArtifactError
from lrcr.retrieval.asmk.prefetch import prefetch_rows
from lrcr.runtime.jit import parallel, serial
from lrcr.storage.artifacts import staged_file

BITS = 64
_AHEAD = 4  # postings between the prefetch of data and its use
_NORM_EPSILON = 1e-6  # added to the norm, as in the reference; a residual of zero stays zero


@dataclass(frozen=True, eq=False)
class Aggregated:
    """The postings of a batch of images, sorted by image and then by word.

    Args:
        words: visual word of each posting, of shape (P,).
        images: position in the batch of each posting's image, of shape (P,), ascending.
        vectors: sign bits of the summed residuals, uint64 of shape (P, ⌈D/64⌉): bit d % 64 of column d // 64 is set
            where component d is above zero; or the summed residuals, L2-normalised, float16 of shape (P, D).
        count: number of images in the batch, including those without postings.
        dim: D.
        assigned: number of assignments of descriptors to words that were summed.
    """

    words: npt.NDArray[np.int32]
    images: npt.NDArray[np.uint32]
    vectors: npt.NDArray[Any]
    count: int
    dim: int
    assigned: int = 0

    @property
    def binary(self) -> bool:
        """Whether the vectors are sign bits."""
        return self.vectors.dtype == np.uint64

    @property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Of shape (count + 1,): image i has the postings offsets[i]:offsets[i+1]."""
        return np.searchsorted(self.images, np.arange(self.count + 1)).astype(np.int64)


def write_aggregated(path: Path, part: Aggregated) -> None:
    """Write a batch; the file appears whole or not at all."""
    with staged_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **asdict(part))


def read_aggregated(path: Path) -> Aggregated:
    """Read a batch that `write_aggregated` wrote."""
    with np.load(path) as file:
        values: dict[str, Any] = {name: array if array.ndim else int(array) for name, array in file.items()}
    return Aggregated(**values)


def columns(dim: int, *, binary: bool) -> int:
    """Number of columns of the vectors of postings: ⌈D/64⌉ of 64 sign bits each, or D."""
    return -(-dim // BITS) if binary else dim


def aggregate(
    descriptors: npt.NDArray[np.floating[Any]],
    words: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
    centroids: npt.NDArray[np.float32],
    *,
    binary: bool,
) -> Aggregated:
    """Sum the residuals of each image and visual word, and take their signs or normalise them.

    Args:
        descriptors: of shape (N, D).
        words: the A words that each descriptor is assigned to, of shape (N, A).
        offsets: of shape (images + 1,); image i owns rows offsets[i]:offsets[i+1].
        centroids: of shape (words, D).
        binary: True: sign bits; False: L2-normalised sums.

    Raises:
        ArtifactError: the arrays contradict each other.
    """
    check_arrays(descriptors, words, offsets, centroids)
    points = np.ascontiguousarray(descriptors, dtype=np.float32)
    centroids = np.ascontiguousarray(centroids)
    lanes = numba.get_num_threads()
    counts = np.zeros(len(offsets) - 1, np.int64)
    _count_words(words, offsets, len(centroids), lanes, counts)
    bounds = np.append(0, np.cumsum(counts))
    found = np.empty(bounds[-1], np.int32)
    if binary:
        vectors: npt.NDArray[Any] = np.zeros((bounds[-1], columns(points.shape[1], binary=True)), np.uint64)
        _aggregate_signs(points, words, offsets, centroids, bounds, lanes, found, vectors)
    else:
        directions = np.empty((bounds[-1], points.shape[1]), np.float32)
        _aggregate_directions(points, words, offsets, centroids, bounds, lanes, found, directions)
        vectors = directions.astype(np.float16)
    images = np.repeat(np.arange(len(counts), dtype=np.uint32), counts)
    return Aggregated(found, images, vectors, len(counts), centroids.shape[1], words.size)


def check_arrays(
    descriptors: npt.NDArray[np.floating[Any]],
    words: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
    centroids: npt.NDArray[np.float32],
) -> None:
    """Refuse arrays, as those of `aggregate`, that contradict each other.

    Raises:
        ArtifactError: they do.
    """
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


# Lane l processes the images l, l + lanes, l + 2 lanes, … with its own scratch memory: no image is in two lanes.


@parallel
def _count_words(
    words: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
    codebook: int,
    lanes: int,
    counts: npt.NDArray[np.int64],
) -> None:
    """Write the number of different words of each image into `counts` (zeros)."""
    for lane in numba.prange(lanes):
        last_seen = np.full(codebook, -1, np.int64)
        for image in range(lane, len(counts), lanes):
            for row in range(offsets[image], offsets[image + 1]):
                for word in words[row]:
                    counts[image] += last_seen[word] != image
                    last_seen[word] = image


@parallel
def _aggregate_signs(
    points: npt.NDArray[np.float32],
    words: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
    centroids: npt.NDArray[np.float32],
    bounds: npt.NDArray[np.int64],
    lanes: int,
    found: npt.NDArray[np.int32],
    codes: npt.NDArray[np.uint64],
) -> None:
    """Write the words of image i to found[bounds[i]:bounds[i+1]], ascending, and their sign bits to `codes` (zeros)."""
    for lane in numba.prange(lanes):
        place = np.full(len(centroids), -1, np.int32)
        total = np.zeros(codes.shape[1] * BITS)  # components beyond D stay zero and set no bit
        for image in range(lane, len(bounds) - 1, lanes):
            first, end = bounds[image], bounds[image + 1]
            starts, rows = _group(words, offsets[image], offsets[image + 1], place, found, first, end)
            for k in range(end - first):
                if k + _AHEAD < end - first:
                    prefetch_rows(points, rows[starts[k + _AHEAD]], 1)
                    prefetch_rows(centroids, found[first + k + _AHEAD], 1)
                _sum_residuals(points, rows, starts[k], starts[k + 1], centroids, found[first + k], total)
                for c in range(codes.shape[1]):
                    bits = np.uint64(0)
                    for d in range(BITS):
                        bits |= np.uint64(total[c * BITS + d] > 0) << np.uint64(d)
                    codes[first + k, c] = bits


@parallel
def _aggregate_directions(
    points: npt.NDArray[np.float32],
    words: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
    centroids: npt.NDArray[np.float32],
    bounds: npt.NDArray[np.int64],
    lanes: int,
    found: npt.NDArray[np.int32],
    directions: npt.NDArray[np.float32],
) -> None:
    """As `_aggregate_signs`, but write L2-normalised residuals to `directions`."""
    for lane in numba.prange(lanes):
        place, total = np.full(len(centroids), -1, np.int32), np.empty(points.shape[1])
        for image in range(lane, len(bounds) - 1, lanes):
            first, end = bounds[image], bounds[image + 1]
            starts, rows = _group(words, offsets[image], offsets[image + 1], place, found, first, end)
            for k in range(end - first):
                if k + _AHEAD < end - first:
                    prefetch_rows(points, rows[starts[k + _AHEAD]], 1)
                    prefetch_rows(centroids, found[first + k + _AHEAD], 1)
                _sum_residuals(points, rows, starts[k], starts[k + 1], centroids, found[first + k], total)
                norm = np.sqrt((total * total).sum()) + _NORM_EPSILON
                for d in range(len(total)):
                    directions[first + k, d] = total[d] / norm


@serial
def _group(
    words: npt.NDArray[np.int32],
    start: int,
    stop: int,
    place: npt.NDArray[np.int32],
    found: npt.NDArray[np.int32],
    first: int,
    end: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Write the different words of rows start … stop − 1 into found[first:end], ascending, and group the rows by them.

    Args:
        words: of shape (N, A).
        place: scratch memory of shape (codebook,), all −1 before and after the call.

    Returns:
        starts of shape (end − first + 1,) and rows of shape ((stop − start) × A,): the word found[first + k] has the
        rows rows[starts[k]:starts[k+1]].
    """
    different = first
    for row in range(start, stop):
        for a in range(words.shape[1]):
            word = words[row, a]
            if place[word] < 0:
                place[word] = 0
                found[different] = word
                different += 1
    found[first:end].sort()
    for k in range(first, end):
        place[found[k]] = k - first
    starts = np.zeros(end - first + 1, np.int64)
    for row in range(start, stop):
        for a in range(words.shape[1]):
            starts[place[words[row, a]] + 1] += 1
    for k in range(end - first):
        starts[k + 1] += starts[k]
    rows, free = np.empty((stop - start) * words.shape[1], np.int64), starts.copy()
    for row in range(start, stop):
        for a in range(words.shape[1]):
            k = place[words[row, a]]
            rows[free[k]] = row
            free[k] += 1
    for k in range(first, end):
        place[found[k]] = -1
    return starts, rows


@serial
def _sum_residuals(
    points: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64],
    start: int,
    stop: int,
    centroids: npt.NDArray[np.float32],
    word: int,
    total: npt.NDArray[np.float64],
) -> None:
    """Write Σ (point − centroid) over rows[start:stop] into `total`, in float64."""
    for d in range(points.shape[1]):
        total[d] = -np.float64(stop - start) * np.float64(centroids[word, d])
    for i in range(start, stop):
        row = rows[i]
        for d in range(points.shape[1]):
            total[d] += np.float64(points[row, d])
