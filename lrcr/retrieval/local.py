"""The local descriptors of the database that an index owns for re-ranking, in the folder `local` of the index.

Arrays: `descriptors` (rows, D) float16, each row of unit length, or (rows, ⌈D/64⌉) uint64, the signs of such rows minus
`mean`; `mean` (D) float32, of all rows of the database; `xy` (rows, 2) float32, in pixels of the original image;
`offsets` (images + 1) int64: image i owns the rows offsets[i]:offsets[i+1]. They are memory-mapped.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.format import open_memmap

from lrcr.errors import ArtifactError
from lrcr.features.store import Descriptors, DescriptorStore
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.asmk.aggregation import BITS, columns
from lrcr.retrieval.flat.vectors import normalise
from lrcr.retrieval.layout import LOCAL
from lrcr.storage.arrays import REBUILD, hash_files, open_array, verify_arrays
from lrcr.storage.artifacts import MANIFEST, Manifest, open_manifest, staged_folder, write_manifest

_ARRAYS = "arrays"
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Keypoints:
    """The local descriptors of one image.

    Args:
        descriptors: float32 of shape (N, D), each row of unit length, or zero; or codes, uint64 of shape (N, ⌈D/64⌉).
        xy: of shape (N, 2), in pixels.
    """

    descriptors: npt.NDArray[Any]
    xy: Floats


@dataclass(frozen=True, eq=False)
class LocalDescriptors:
    """The local descriptors of a database.

    Args:
        folder: of the arrays and their manifest.
        manifest: its facts hold `bytes_per_image`.
        descriptors: of shape (rows, D) float16, or codes.
        mean: of shape (D,).
        xy: of shape (rows, 2).
        offsets: of shape (images + 1,).
    """

    folder: Path
    manifest: Manifest
    descriptors: npt.NDArray[Any]
    mean: Floats
    xy: Floats
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.offsets) - 1

    @property
    def dim(self) -> int:
        """D."""
        return len(self.mean)

    @property
    def bytes_per_image(self) -> float:
        """Their size on the disk, in bytes, for one image."""
        return float(self.manifest.facts["bytes_per_image"])

    def of_image(self, image: int) -> Keypoints:
        """The local descriptors of an image."""
        rows = slice(self.offsets[image], self.offsets[image + 1])
        return Keypoints(self._unpack(self.descriptors[rows]), self.xy[rows])

    def of_query(self, queries: Descriptors, query: int) -> Keypoints:
        """The local descriptors of a query, in the form of those of the database."""
        rows = slice(queries.offsets[query], queries.offsets[query + 1])
        mean = self.mean if self.binary else None
        return Keypoints(self._unpack(_pack(queries.descriptors[rows], mean)), queries.xy[rows])

    @property
    def binary(self) -> bool:
        """Whether the descriptors are codes."""
        return self.descriptors.dtype == np.uint64

    def _unpack(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return rows if self.binary else rows.astype(np.float32)

    def verify(self, progress: Progress = SILENT) -> None:
        """Compare every file with its hash in the manifest.

        Raises:
            ArtifactError: a file is missing or was altered.
        """
        verify_arrays(self.folder, [{"folder": _ARRAYS, "files": self.manifest.facts["files"]}], progress)


def write_local(folder: Path, store: DescriptorStore, inputs: dict[str, str], *, binary: bool) -> None:
    """Write the local descriptors of a database into a new folder, shard by shard.

    Args:
        store: of the database.
        inputs: what they are made from (see `Manifest`).
        binary: whether to write codes.
    """
    folder.mkdir()
    rows, first, mean = int(store.manifest.facts["descriptors"]), 0, _mean_of(store)
    dim = len(mean)
    dtype, width = (np.uint64, columns(dim, binary=True)) if binary else (np.float16, dim)
    offsets = np.zeros(1, np.int64)
    with staged_folder(folder / _ARRAYS) as staged:
        descriptors = open_memmap(staged / "descriptors.npy", "w+", np.dtype(dtype), (rows, width))
        xy = open_memmap(staged / "xy.npy", "w+", np.dtype(np.float32), (rows, 2))
        for shard in store.shards():
            end = first + len(shard.descriptors)
            descriptors[first:end], xy[first:end] = _pack(shard.descriptors, mean if binary else None), shard.xy
            offsets, first = np.append(offsets, first + shard.offsets[1:]), end
        descriptors.flush()
        xy.flush()
        np.save(staged / "offsets.npy", offsets)
        np.save(staged / "mean.npy", mean)
        files = hash_files(staged)
    size = sum(file["bytes"] for file in files.values()) / max(1, store.images)
    facts = {
        "images": store.images,
        "rows": rows,
        "dim": dim,
        "binary": binary,
        "bytes_per_image": size,
        "files": files,
    }
    write_manifest(folder, Manifest("local", {}, inputs, facts))


def open_local(folder: Path) -> LocalDescriptors:
    """Open the local descriptors in a folder.

    Raises:
        ArtifactError: a file is missing or damaged, or the arrays contradict each other.
    """
    manifest = open_manifest(folder, "local")
    facts, arrays = manifest.facts, folder / _ARRAYS
    try:
        images, rows, dim, files = facts["images"], facts["rows"], facts["dim"], facts["files"]
        dtype, width = (np.uint64, columns(dim, binary=True)) if facts["binary"] else (np.float16, dim)
        descriptors = open_array(arrays, "descriptors", files, dtype, (rows, width))
        mean = open_array(arrays, "mean", files, np.float32, (dim,))
        xy = open_array(arrays, "xy", files, np.float32, (rows, 2))
        offsets = open_array(arrays, "offsets", files, np.int64, (images + 1,))
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / MANIFEST}: its facts are incomplete or wrong ({error}); {REBUILD}") from None
    if offsets[0] != 0 or offsets[-1] != rows or (np.diff(offsets) < 0).any():
        raise ArtifactError(f"{arrays / 'offsets.npy'}: offsets do not ascend from 0 to {rows} rows; {REBUILD}")
    return LocalDescriptors(folder, manifest, descriptors, mean, xy, offsets)


def refuse_local(folder: Path) -> None:
    """Refuse to change an index that owns local descriptors: only its engine stores images by segments.

    Raises:
        ArtifactError: it owns some.
    """
    if (folder / LOCAL).exists():
        raise ArtifactError(f"{folder}: owns local descriptors, so its images cannot be changed; index again")


def _mean_of(store: DescriptorStore) -> Floats:
    """The mean of all rows, after each is scaled to unit length."""
    sums = [_unit(shard.descriptors).sum(axis=0, dtype=np.float64) for shard in store.shards()]
    mean: Floats = (np.sum(sums, axis=0) / max(1, store.manifest.facts["descriptors"])).astype(np.float32)
    return mean


def _pack(rows: npt.NDArray[np.floating[Any]], mean: Floats | None) -> npt.NDArray[Any]:
    """Rows as they are stored: of unit length in float16, or with a mean the signs of what they are above it."""
    unit = _unit(rows)
    if mean is None:
        return unit.astype(np.float16)
    bits = np.zeros((len(unit), BITS * columns(len(mean), binary=True)), bool)
    bits[:, : len(mean)] = unit > mean
    return np.packbits(bits, axis=1, bitorder="little").view("<u8").astype(np.uint64, copy=False)


def _unit(rows: npt.NDArray[np.floating[Any]]) -> Floats:
    """Rows of unit length, in float32; zero rows stay zero."""
    return normalise(rows.astype(np.float32, copy=False))
