"""The local descriptors of the database that an index owns for re-ranking: immutable folders `local-<number>`.

Each folder holds those of consecutive stored images, as memory-mapped arrays: `descriptors` (rows, D) float16, each row
of unit length; `xy` (rows, 2) float32, in pixels of the original image; `offsets` (images + 1) int64: image i owns the
rows offsets[i]:offsets[i+1]. The fact `local` of the index's manifest lists the folders in the order of their images.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.errors import ArtifactError
from lrcr.features.store import Descriptors
from lrcr.storage.arrays import REBUILD, GrowingArray, hash_files, open_array
from lrcr.storage.artifacts import staged_file, staged_folder

Floats = npt.NDArray[np.float32]

_IMAGES_AT_ONCE = 128  # images that are read at a time to be written again


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
class LocalPart:
    """The local descriptors of some images, as they are stored.

    Args:
        descriptors: of shape (rows, D).
        xy: of shape (rows, 2).
        offsets: of shape (images + 1,).
    """

    descriptors: npt.NDArray[np.float16]
    xy: Floats
    offsets: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LocalDescriptors:
    """The local descriptors of a database.

    Args:
        folders: the arrays of each folder, memory-mapped.
        order: places of the images among the stored ones (`lrcr.storage.arrays.open_order`).
        size: of all files, in bytes.
    """

    folders: tuple[LocalPart, ...]
    order: npt.NDArray[np.int64]
    size: int

    def __len__(self) -> int:
        """The number of images."""
        return len(self.order)

    @property
    def bytes_per_image(self) -> float:
        """Their size on the disk for one image, in bytes; those of images that were removed count."""
        return self.size / max(1, len(self))

    def of_image(self, image: int) -> Keypoints:
        """The local descriptors of an image."""
        folder, rows = self._find(image)
        return Keypoints(folder.descriptors[rows].astype(np.float32), folder.xy[rows])

    def parts(self) -> Iterator[LocalPart]:
        """The local descriptors of all images, in their order; at least one part."""
        for first in range(0, max(1, len(self)), _IMAGES_AT_ONCE):
            images = range(first, min(first + _IMAGES_AT_ONCE, len(self)))
            found = [(self.folders[0], slice(0)), *map(self._find, images)]  # the first is empty, with D columns
            descriptors, xy = zip(*((folder.descriptors[rows], folder.xy[rows]) for folder, rows in found), strict=True)
            yield LocalPart(np.concatenate(descriptors), np.concatenate(xy), np.cumsum([len(rows) for rows in xy]))

    def _find(self, image: int) -> tuple[LocalPart, slice]:
        """The folder of an image, and its rows there."""
        place = int(self.order[image])
        for folder in self.folders:
            if place < len(folder.offsets) - 1:
                return folder, slice(folder.offsets[place], folder.offsets[place + 1])
            place -= len(folder.offsets) - 1
        raise IndexError(image)


def keypoints_of(images: Descriptors, image: int) -> Keypoints:
    """The local descriptors of one of some images, as the index would store them."""
    rows = slice(images.offsets[image], images.offsets[image + 1])
    return Keypoints(_unit_rows(images.descriptors[rows]).astype(np.float32), images.xy[rows])


def local_part(images: Descriptors) -> LocalPart:
    """The local descriptors of some images as they are stored."""
    return LocalPart(_unit_rows(images.descriptors), images.xy.astype(np.float32), images.offsets)


def write_local_part(path: Path, part: LocalPart) -> None:
    """Write a part into a file; it appears whole or not at all."""
    with staged_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **asdict(part))


def read_local_part(path: Path) -> LocalPart:
    """Read what `write_local_part` wrote."""
    with np.load(path) as file:
        return LocalPart(**file)


def write_local(folder: Path, parts: Iterable[LocalPart], images: int) -> dict[str, Any]:
    """Write local descriptors into a new folder, part by part; it appears whole or not at all.

    Args:
        parts: of consecutive images.
        images: their number.

    Returns:
        The folder's entry in the manifest of the index: `folder`, the numbers of `images` and `rows`, `dim`, and
        `files` with sizes and hashes.

    Raises:
        ArtifactError: the parts are of more or fewer images.
    """
    lengths = [np.zeros(1, np.int64)]
    with staged_folder(folder) as staged:
        descriptors = GrowingArray(staged / "descriptors.npy", np.float16)
        xy = GrowingArray(staged / "xy.npy", np.float32)
        with descriptors, xy:
            for part in parts:
                descriptors.append(part.descriptors)
                xy.append(part.xy)
                lengths.append(np.diff(part.offsets))
        offsets = np.cumsum(np.concatenate(lengths))
        if len(offsets) - 1 != images:
            found = f"local descriptors of {len(offsets) - 1} images, not of {images}"
            raise ArtifactError(f"{folder.parent}: {found}; give those of each image, since the index owns them")
        np.save(staged / "offsets.npy", offsets)
        files = hash_files(staged)
    shape = {"images": images, "rows": int(offsets[-1]), "dim": descriptors.columns}
    return {"folder": folder.name, **shape, "files": files}


def open_local(
    root: Path, entries: Sequence[dict[str, Any]], order: npt.NDArray[np.int64] | None = None
) -> LocalDescriptors:
    """Open the local descriptors of an index.

    Args:
        root: folder of the index.
        entries: what `write_local` returned for each folder.
        order: places of the images among the stored ones; None: all of them, as they are stored.

    Raises:
        ArtifactError: a file is missing or damaged, or the arrays contradict each other.
    """
    folders = tuple(_open_folder(root / entry["folder"], entry) for entry in entries)
    size = sum(file["bytes"] for entry in entries for file in entry["files"].values())
    stored = np.arange(sum(entry["images"] for entry in entries))
    return LocalDescriptors(folders, stored if order is None else order, size)


def _open_folder(folder: Path, entry: dict[str, Any]) -> LocalPart:
    rows, files = entry["rows"], entry["files"]
    descriptors = open_array(folder, "descriptors", files, np.float16, (rows, entry["dim"]))
    xy = open_array(folder, "xy", files, np.float32, (rows, 2))
    offsets = open_array(folder, "offsets", files, np.int64, (entry["images"] + 1,))
    if offsets[0] != 0 or offsets[-1] != rows or (np.diff(offsets) < 0).any():
        raise ArtifactError(f"{folder / 'offsets.npy'}: offsets do not ascend from 0 to {rows} rows; {REBUILD}")
    return LocalPart(descriptors, xy, offsets)


def _unit_rows(rows: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float16]:
    """Rows of unit length, in float16; zero rows stay zero."""
    values = rows.astype(np.float32)
    unit: npt.NDArray[np.float32] = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    return unit.astype(np.float16)
