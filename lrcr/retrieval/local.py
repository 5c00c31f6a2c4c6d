"""The local descriptors of the database that an index owns for re-ranking: immutable folders `local-<number>`.

Each folder holds those of consecutive stored images, as memory-mapped arrays: `descriptors` (rows, D) float16, each row
of unit length, or codes (rows, ⌈D/64⌉) uint64 (`lrcr.retrieval.local_encoder`); `xy` (rows, 2) float32, in pixels of
the original image; `offsets` (images + 1) int64: image i owns the rows offsets[i]:offsets[i+1]. The fact `local` of the
index's manifest lists the folders in the order of their images.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.errors import ArtifactError
from lrcr.features.store import Descriptors
from lrcr.retrieval.local_encoder import Keypoints, LocalEncoder, LocalPart
from lrcr.storage.arrays import REBUILD, GrowingArray, hash_files, open_array
from lrcr.storage.artifacts import staged_file, staged_folder

_IMAGES_AT_ONCE = 128  # images that are read at a time to be written again


@dataclass(frozen=True, eq=False)
class LocalDescriptors:
    """The local descriptors of a database.

    Args:
        folders: the arrays of each folder, memory-mapped.
        order: places of the images among the stored ones (`lrcr.storage.arrays.open_order`).
        size: of all files, in bytes.
        encoder: with which they were stored.
    """

    folders: tuple[LocalPart, ...]
    order: npt.NDArray[np.int64]
    size: int
    encoder: LocalEncoder

    def __len__(self) -> int:
        """The number of images."""
        return len(self.order)

    @property
    def bits(self) -> int | None:
        """Of the code of a descriptor; None: unit vectors are stored."""
        return self.folders[0].dim if self.encoder.binary else None

    @property
    def bytes_per_image(self) -> float:
        """Their size on the disk for one image, in bytes; those of images that were removed count."""
        return self.size / max(1, len(self))

    def of_image(self, image: int) -> Keypoints:
        """The local descriptors of an image."""
        folder, rows = self._find(image)
        return self.encoder.decode(folder.descriptors[rows], folder.xy[rows])

    def of_query(self, queries: Descriptors, query: int) -> Keypoints:
        """Those of one of some queries, encoded as those of the images."""
        return self.encoder.keypoints(queries, query)

    def parts(self) -> Iterator[LocalPart]:
        """The local descriptors of all images, in their order; at least one part."""
        for first in range(0, max(1, len(self)), _IMAGES_AT_ONCE):
            images = range(first, min(first + _IMAGES_AT_ONCE, len(self)))
            found = [(self.folders[0], slice(0)), *map(self._find, images)]  # the first is empty, with D columns
            descriptors, xy = zip(*((folder.descriptors[rows], folder.xy[rows]) for folder, rows in found), strict=True)
            offsets = np.cumsum([len(rows) for rows in xy])
            yield LocalPart(np.concatenate(descriptors), np.concatenate(xy), offsets, self.folders[0].dim)

    def _find(self, image: int) -> tuple[LocalPart, slice]:
        """The folder of an image, and its rows there."""
        place = int(self.order[image])
        for folder in self.folders:
            if place < len(folder.offsets) - 1:
                return folder, slice(folder.offsets[place], folder.offsets[place + 1])
            place -= len(folder.offsets) - 1
        raise IndexError(image)


def write_local_part(path: Path, part: LocalPart) -> None:
    """Write a part into a file; it appears whole or not at all."""
    with staged_file(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **asdict(part))


def read_local_part(path: Path) -> LocalPart:
    """Read what `write_local_part` wrote."""
    with np.load(path) as file:
        return LocalPart(**{**file, "dim": int(file["dim"])})


def write_local(folder: Path, parts: Iterable[LocalPart], images: int, encoder: LocalEncoder) -> dict[str, Any]:
    """Write local descriptors into a new folder, part by part; it appears whole or not at all.

    Args:
        parts: of consecutive images.
        images: their number.
        encoder: which made them.

    Returns:
        The folder's entry in the manifest of the index: `folder`, the numbers of `images` and `rows`, `dim`, and
        `files` with sizes and hashes.

    Raises:
        ArtifactError: the parts are of more or fewer images.
    """
    lengths, dim = [np.zeros(1, np.int64)], 0
    with staged_folder(folder) as staged:
        descriptors = GrowingArray(staged / "descriptors.npy", encoder.dtype)
        xy = GrowingArray(staged / "xy.npy", np.float32)
        with descriptors, xy:
            for part in parts:
                descriptors.append(part.descriptors)
                xy.append(part.xy)
                lengths.append(np.diff(part.offsets))
                dim = part.dim
        offsets = np.cumsum(np.concatenate(lengths))
        if len(offsets) - 1 != images:
            found = f"local descriptors of {len(offsets) - 1} images, not of {images}"
            raise ArtifactError(f"{folder.parent}: {found}; give those of each image, since the index owns them")
        np.save(staged / "offsets.npy", offsets)
        files = hash_files(staged)
    shape = {"images": images, "rows": int(offsets[-1]), "dim": dim}
    return {"folder": folder.name, **shape, "files": files}


def open_local(
    root: Path, entries: Sequence[dict[str, Any]], encoder: LocalEncoder, order: npt.NDArray[np.int64] | None = None
) -> LocalDescriptors:
    """Open the local descriptors of an index.

    Args:
        root: folder of the index.
        entries: what `write_local` returned for each folder.
        encoder: with which they were stored.
        order: places of the images among the stored ones; None: all of them, as they are stored.

    Raises:
        ArtifactError: a file is missing or damaged, or the arrays contradict each other.
    """
    folders = tuple(_open_folder(root / entry["folder"], entry, encoder) for entry in entries)
    size = sum(file["bytes"] for entry in entries for file in entry["files"].values())
    stored = np.arange(sum(entry["images"] for entry in entries))
    return LocalDescriptors(folders, stored if order is None else order, size, encoder)


def _open_folder(folder: Path, entry: dict[str, Any], encoder: LocalEncoder) -> LocalPart:
    rows, dim, files = entry["rows"], entry["dim"], entry["files"]
    descriptors = open_array(folder, "descriptors", files, encoder.dtype, (rows, encoder.columns(dim)))
    xy = open_array(folder, "xy", files, np.float32, (rows, 2))
    offsets = open_array(folder, "offsets", files, np.int64, (entry["images"] + 1,))
    if offsets[0] != 0 or offsets[-1] != rows or (np.diff(offsets) < 0).any():
        raise ArtifactError(f"{folder / 'offsets.npy'}: offsets do not ascend from 0 to {rows} rows; {REBUILD}")
    return LocalPart(descriptors, xy, offsets, dim)
