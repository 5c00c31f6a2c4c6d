"""The local descriptors of the database that an index owns for re-ranking, in the folder `local` of the index.

Arrays: `descriptors` (rows, D) float16, each row of unit length; `xy` (rows, 2) float32, in pixels of the original
image; `offsets` (images + 1) int64: image i owns the rows offsets[i]:offsets[i+1]. They are memory-mapped.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.format import open_memmap

from lrcr.errors import ArtifactError
from lrcr.features.store import Descriptors
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.layout import LOCAL
from lrcr.storage.arrays import REBUILD, hash_files, open_array, verify_arrays
from lrcr.storage.artifacts import MANIFEST, Manifest, open_manifest, staged_folder, write_manifest

_ARRAYS = "arrays"
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Keypoints:
    """The local descriptors of one image.

    Args:
        descriptors: of shape (N, D), each row of unit length, or zero.
        xy: of shape (N, 2), in pixels.
    """

    descriptors: Floats
    xy: Floats


@dataclass(frozen=True, eq=False)
class LocalDescriptors:
    """The local descriptors of a database.

    Args:
        folder: of the arrays and their manifest.
        manifest: its facts hold `bytes_per_image`.
        descriptors: of shape (rows, D).
        xy: of shape (rows, 2).
        offsets: of shape (images + 1,).
    """

    folder: Path
    manifest: Manifest
    descriptors: npt.NDArray[np.float16]
    xy: Floats
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.offsets) - 1

    @property
    def bytes_per_image(self) -> float:
        """Their size on the disk, in bytes, for one image."""
        return float(self.manifest.facts["bytes_per_image"])

    def of_image(self, image: int) -> Keypoints:
        """The local descriptors of an image."""
        rows = slice(self.offsets[image], self.offsets[image + 1])
        return Keypoints(self.descriptors[rows].astype(np.float32), self.xy[rows])

    def verify(self, progress: Progress = SILENT) -> None:
        """Compare every file with its hash in the manifest.

        Raises:
            ArtifactError: a file is missing or was altered.
        """
        verify_arrays(self.folder, [{"folder": _ARRAYS, "files": self.manifest.facts["files"]}], progress)


def keypoints_of(images: Descriptors, image: int) -> Keypoints:
    """The local descriptors of one of some images, as the index would store them."""
    rows = slice(images.offsets[image], images.offsets[image + 1])
    return Keypoints(_unit_rows(images.descriptors[rows]).astype(np.float32), images.xy[rows])


def write_local(folder: Path, shards: Iterable[Descriptors], rows: int, inputs: dict[str, str]) -> None:
    """Write the local descriptors of a database into a new folder, shard by shard.

    Args:
        shards: of consecutive images; at least one.
        rows: number of descriptors in all shards.
        inputs: what they are made from (see `Manifest`).
    """
    folder.mkdir()
    lengths, first = [np.zeros(1, np.int64)], 0
    with staged_folder(folder / _ARRAYS) as staged:
        for shard in shards:
            if not first and len(lengths) == 1:
                shape = (rows, shard.descriptors.shape[1])
                descriptors = open_memmap(staged / "descriptors.npy", "w+", np.dtype(np.float16), shape)
                xy = open_memmap(staged / "xy.npy", "w+", np.dtype(np.float32), (rows, 2))
            end = first + len(shard.descriptors)
            descriptors[first:end], xy[first:end] = _unit_rows(shard.descriptors), shard.xy
            lengths.append(np.diff(shard.offsets))
            first = end
        descriptors.flush()
        xy.flush()
        offsets = np.cumsum(np.concatenate(lengths))
        np.save(staged / "offsets.npy", offsets)
        files = hash_files(staged)
    size = sum(file["bytes"] for file in files.values())
    images = len(offsets) - 1
    facts = {"images": images, "rows": rows, "dim": shape[1], "bytes_per_image": size / max(1, images), "files": files}
    write_manifest(folder, Manifest("local", {}, inputs, facts))


def open_local(folder: Path) -> LocalDescriptors:
    """Open the local descriptors in a folder.

    Raises:
        ArtifactError: a file is missing or damaged, or the arrays contradict each other.
    """
    manifest = open_manifest(folder, "local")
    facts, arrays = manifest.facts, folder / _ARRAYS
    try:
        images, rows, files = facts["images"], facts["rows"], facts["files"]
        descriptors = open_array(arrays, "descriptors", files, np.float16, (rows, facts["dim"]))
        xy = open_array(arrays, "xy", files, np.float32, (rows, 2))
        offsets = open_array(arrays, "offsets", files, np.int64, (images + 1,))
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"{folder / MANIFEST}: its facts are incomplete or wrong ({error}); {REBUILD}") from None
    if offsets[0] != 0 or offsets[-1] != rows or (np.diff(offsets) < 0).any():
        raise ArtifactError(f"{arrays / 'offsets.npy'}: offsets do not ascend from 0 to {rows} rows; {REBUILD}")
    return LocalDescriptors(folder, manifest, descriptors, xy, offsets)


def refuse_local(folder: Path) -> None:
    """Refuse to change an index that owns local descriptors: only its engine stores images by segments.

    Raises:
        ArtifactError: it owns some.
    """
    if (folder / LOCAL).exists():
        raise ArtifactError(f"{folder}: owns local descriptors, so its images cannot be changed; index again")


def _unit_rows(rows: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float16]:
    """Rows of unit length, in float16; zero rows stay zero."""
    values = rows.astype(np.float32)
    unit: npt.NDArray[np.float32] = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return unit.astype(np.float16)
