"""The index of global vectors: one matrix, searched exhaustively by inner product.

On disk: segments `vectors-<number>/vectors.npy` (images, D), float32 or float16, memory-mapped, and the manifest, which
is replaced atomically. The search reads the rows in the order in which the index numbers its images, in blocks whose
size does not depend on the segments: the scores are to the last bit those of an index of one segment. Where the rows of
a block are stored in another order, they are copied first, so that an index is searched faster after `lrcr compact`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.format import open_memmap

from lrcr.errors import ArtifactError, counted
from lrcr.progress import SILENT, Progress
from lrcr.storage.arrays import REBUILD, hash_files, listed_folders, open_array, open_order, verify_arrays
from lrcr.storage.artifacts import MANIFEST, Manifest, open_manifest, staged_folder, write_manifest
from lrcr.storage.division import divide

Vectors = npt.NDArray[np.float32]
Stored = npt.NDArray[np.floating[Any]]

_NAME = "vectors"
_FLOATS_AT_ONCE = 2**26  # values of the matrix that are converted to float32 at a time: 256 MiB
_MOST_ON_GPU = 2048  # faiss on a GPU returns no more results of a query


@dataclass(frozen=True, eq=False)
class FlatIndex:
    """An index open for search.

    Args:
        folder: of the index.
        manifest: what the index was made from, and its statistics.
        segments: the stored vectors, each of shape (n, D), memory-mapped.
        order: places of the images among the stored ones (`lrcr.storage.arrays.open_order`).
    """

    folder: Path
    manifest: Manifest
    segments: tuple[Stored, ...]
    order: npt.NDArray[np.int64] | None = None

    @property
    def images(self) -> int:
        """The number of images."""
        return sum(map(len, self.segments)) if self.order is None else len(self.order)

    @property
    def dim(self) -> int:
        """D, the dimensions of a vector."""
        return int(self.segments[0].shape[1])

    def search(
        self, queries: Vectors, top: int | None = None, *, gpu: bool = False
    ) -> tuple[npt.NDArray[np.int64], Vectors]:
        """Rank the images for each query by inner product; ties by image id.

        Args:
            queries: of shape (Q, D).
            top: number of images returned for each query, at least 1; None returns all.
            gpu: whether faiss searches on a GPU, if there is one and at most 2048 images are returned.

        Returns:
            Images and scores, each of shape (Q, min(top, images)).

        Raises:
            ArtifactError: the queries have another dimension or are not finite, or the index holds NaN or infinity.
        """
        images, dim = self.images, self.dim
        if queries.ndim != 2 or queries.shape[1] != dim or not np.isfinite(queries).all():
            given = f"queries of shape {queries.shape}, finite: {bool(np.isfinite(queries).all())}"
            raise ArtifactError(
                f"{self.folder}: {given}; the index needs finite ones of shape (Q, {dim}); extract them with its model"
            )
        count = images if top is None else min(top, images)
        contiguous = np.ascontiguousarray(queries, np.float32)
        found = [(np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32))]
        block = self._block
        for first in range(0, images if len(queries) else 0, block):
            rows = np.ascontiguousarray(self.rows(first, min(first + block, images)), np.float32)
            scores, ids = _nearest(contiguous, rows, min(count, len(rows)), gpu=gpu)
            found.append((ids + first, scores))
            if sum(part.shape[1] for part, _ in found) > 2 * count:
                found = [_best(found, count)]
        found_ids, found_scores = _best(found, count)
        if not np.isfinite(found_scores).all():
            raise ArtifactError(f"{self.folder}: holds NaN or infinity; {REBUILD}")
        return found_ids, found_scores

    @property
    def _block(self) -> int:
        """The number of images whose scores are computed at a time."""
        return max(1, _FLOATS_AT_ONCE // self.dim)

    def shard(self, number: int, shards: int) -> tuple["FlatIndex", npt.NDArray[np.int64]]:
        """One of several parts, each some consecutive blocks of the search, and the ids of its images, ascending.

        Raises:
            ParamsError: there are fewer blocks than parts.
        """
        blocks = -(-self.images // self._block)
        found = f"{self.folder} is searched in {counted(blocks, 'block')} of {counted(self._block, 'image')}"
        first, stop = divide([self._block] * blocks, shards, found)[number]
        images = np.arange(first * self._block, min(stop * self._block, self.images))
        return replace(self, order=images if self.order is None else self.order[images]), images

    def rows(self, first: int, stop: int) -> Stored:
        """The vectors of some consecutive images; not copied where they are stored one after the other."""
        if self.order is None and len(self.segments) == 1:
            return self.segments[0][first:stop]
        return take_rows(self.segments, np.arange(first, stop) if self.order is None else self.order[first:stop])

    def verify(self, progress: Progress = SILENT) -> None:
        """Compare every file with its hash in the manifest.

        Raises:
            ArtifactError: a file is missing or was altered; the message names it.
        """
        verify_arrays(self.folder, listed_folders(self.manifest.facts), progress)


def take_rows(segments: Sequence[Stored], places: npt.NDArray[np.int64]) -> Stored:
    """The vectors at some places among those of all segments, of shape (places, D)."""
    bases = np.cumsum([0, *map(len, segments)])
    for segment, base in zip(segments, bases, strict=False):
        start = int(places[0]) - base if len(places) else 0
        if start >= 0 and start + len(places) <= len(segment) and (np.diff(places) == 1).all():
            return segment[start : start + len(places)]
    rows = np.empty((len(places), segments[0].shape[1]), segments[0].dtype)
    for segment, base in zip(segments, bases, strict=False):
        own = (places >= base) & (places < base + len(segment))
        rows[own] = segment[places[own] - base]
    return rows


def _nearest(queries: Vectors, rows: Vectors, count: int, *, gpu: bool) -> tuple[Vectors, npt.NDArray[np.int64]]:
    """Scores and rows of the `count` largest inner products, and of all others that tie with the smallest of these.

    Of rows that tie at the end faiss returns any. Therefore the number of requested rows grows until a lower score is
    among the results.
    """
    requested = min(count + 1, len(rows))
    while True:
        scores, ids = _search(queries, rows, requested, gpu=gpu)
        if requested == len(rows) or (scores[:, count - 1] > scores[:, -1]).all():
            return scores, ids
        requested = min(2 * requested, len(rows))


def _search(queries: Vectors, rows: Vectors, count: int, *, gpu: bool) -> tuple[Vectors, npt.NDArray[np.int64]]:
    """Scores and rows of the `count` largest inner products, largest first, each of shape (Q, count)."""
    import faiss

    if gpu and count <= _MOST_ON_GPU and hasattr(faiss, "get_num_gpus") and faiss.get_num_gpus() > 0:
        found = faiss.knn_gpu(_gpu(), queries, rows, count, metric=faiss.METRIC_INNER_PRODUCT)
    else:
        found = faiss.knn(queries, rows, count, metric=faiss.METRIC_INNER_PRODUCT)
    scores, ids = found
    return scores, ids


@cache
def _gpu() -> Any:
    """The GPU resources of faiss (scratch memory), allocated once."""
    import faiss

    return faiss.StandardGpuResources()


def _best(parts: Sequence[tuple[npt.NDArray[np.int64], Vectors]], count: int) -> tuple[npt.NDArray[np.int64], Vectors]:
    """Merge partial results of the queries: ids and scores of the `count` highest scores, highest first, ties by id."""
    ids, scores = (np.concatenate([part[side] for part in parts], axis=1) for side in (0, 1))
    order = np.lexsort((ids, -scores), axis=1)[:, :count]
    return np.take_along_axis(ids, order, axis=1), np.take_along_axis(scores, order, axis=1)


def build_flat_index(
    folder: Path,
    parts: Iterable[Vectors],
    images: int,
    *,
    dtype: str,
    params: dict[str, Any],
    inputs: dict[str, str],
) -> Manifest:
    """Write an index into an existing (staged) folder, part by part.

    Args:
        parts: vectors of consecutive images, each part of shape (n, D); at least one part.
        images: number of images in all parts.
        dtype: of the stored vectors, float32 or float16.
        params, inputs: what the index is made from (see `Manifest`).
    """
    facts = measure_vectors([write_vectors_segment(folder / "vectors-0000", parts, images, dtype)], dtype, images)
    manifest = Manifest("index", params, inputs, facts)
    write_manifest(folder, manifest)
    return manifest


def write_vectors_segment(folder: Path, parts: Iterable[Stored], images: int, dtype: str) -> dict[str, Any]:
    """Write the folder of one segment; it appears whole or not at all.

    Args:
        parts: as of `build_flat_index`, which names the other arguments too.

    Returns:
        The segment's entry in the manifest of the index: `folder`, the numbers of `images` and `dimensions`, and
        `files` with sizes and hashes.
    """
    with staged_folder(folder) as staged:
        first, dim = 0, 0
        for part in parts:
            if not dim:
                dim = part.shape[1]
                vectors = open_memmap(staged / f"{_NAME}.npy", "w+", np.dtype(dtype), (images, dim))
            vectors[first : first + len(part)] = part
            first += len(part)
        vectors.flush()
        files = hash_files(staged)
    return {"folder": folder.name, "images": images, "dimensions": dim, "files": files}


def measure_vectors(entries: Sequence[dict[str, Any]], dtype: str, images: int) -> dict[str, Any]:
    """The facts for the manifest of an index.

    Args:
        entries: what `write_vectors_segment` returned for each segment.
        images: number of images, without those that were removed.
    """
    size = sum(file["bytes"] for entry in entries for file in entry["files"].values())
    return {
        "images": images,
        "dimensions": entries[0]["dimensions"],
        "dtype": dtype,
        "bytes_per_image": size / max(1, images),
        "segments": list(entries),
    }


def open_flat_index(folder: Path, manifest: Manifest | None = None) -> FlatIndex:
    """Open an index. Sizes are checked, which takes milliseconds; `FlatIndex.verify` checks the contents.

    Args:
        manifest: of the index, if it is not written yet.

    Raises:
        ArtifactError: a file is missing or damaged; the message names it.
    """
    manifest = manifest or open_manifest(folder, "index")
    facts = manifest.facts
    try:
        segments = open_vectors(folder, facts["segments"], facts["dtype"])
        stored = sum(map(len, segments))
        order = open_order(folder, facts, stored)
        dimensions = {segment.shape[1] for segment in segments}
        if dimensions != {facts["dimensions"]} or (order is None and stored != facts["images"]):
            found = f"{stored} images of {dimensions} dimensions"
            raise ArtifactError(f"{folder / MANIFEST}: its segments hold {found}, which it misstates; {REBUILD}")
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / MANIFEST}: its facts are incomplete or wrong ({error}); {REBUILD}") from None
    return FlatIndex(folder, manifest, segments, order)


def open_vectors(folder: Path, entries: Sequence[dict[str, Any]], dtype: str) -> tuple[Stored, ...]:
    """Map the segments of an index into memory; raises as `open_flat_index`."""
    return tuple(
        open_array(
            folder / entry["folder"], _NAME, entry["files"], np.dtype(dtype), (entry["images"], entry["dimensions"])
        )
        for entry in entries
    )
