"""One immutable segment of the inverted file: the postings of consecutive images, by word and then by image.

A folder of memory-mapped arrays: `offsets` (words + 1) int64, `images` (postings) uint32, counted from the segment's
first image, `codes` (postings, ⌈D/64⌉) uint64 or `residuals` (postings, D) float16, and `norm` (images) float32, the
square root of each image's number of words.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.artifacts import hash_file, staged_folder
from lrcr.asmk.aggregation import Aggregated, columns
from lrcr.errors import ArtifactError

REBUILD = "build the index again"


@dataclass(frozen=True, eq=False)
class Segment:
    """A segment open for search.

    Args:
        folder: where it lies.
        base: id of its first image.
        offsets: of shape (words + 1,), the postings of each word.
        images: of shape (postings,), counted from `base`; not to be trusted.
        vectors: sign bits or residuals, of shape (postings, columns).
        norm: √words of each image, of shape (images,).
    """

    folder: Path
    base: int
    offsets: npt.NDArray[np.int64]
    images: npt.NDArray[np.uint32]
    vectors: npt.NDArray[Any]
    norm: npt.NDArray[np.float32]

    @property
    def count(self) -> int:
        """How many images it holds."""
        return len(self.norm)


@dataclass(frozen=True)
class Layout:
    """What all segments of an index share: the number of words, the dimension D and whether they hold sign bits."""

    words: int
    dim: int
    binary: bool

    def require(self, postings: Aggregated, place: str) -> None:
        """Refuse postings that were aggregated otherwise.

        Raises:
            ArtifactError: another dimension, another kind of vector, or words that the codebook lacks.
        """
        if (postings.dim, postings.binary) != (self.dim, self.binary):
            found, expected = f"D = {postings.dim}, binary = {postings.binary}", f"{self.dim}, {self.binary}"
            raise ArtifactError(f"{place}: postings of {found}, but the index has {expected}; aggregate them alike")
        if len(postings.words) and not 0 <= postings.words.min() <= postings.words.max() < self.words:
            wrong = postings.words.min() if postings.words.min() < 0 else postings.words.max()
            raise ArtifactError(f"{place}: word {wrong} is not in 0…{self.words - 1}; assign with the index's codebook")

    @property
    def vectors(self) -> str:
        """Name of the array of vectors."""
        return "codes" if self.binary else "residuals"

    @property
    def dtype(self) -> Any:
        """Type of the vectors."""
        return np.uint64 if self.binary else np.float16


def write_segment(folder: Path, parts: Iterable[Aggregated], layout: Layout) -> dict[str, Any]:
    """Write the folder of one segment; it appears whole or not at all.

    Args:
        folder: the new segment, inside the folder of the index.
        parts: batches of postings; each continues where the images of the last one ended.

    Returns:
        What the manifest of the index keeps of it: `folder`, `images`, `postings` and the `files` with their hashes.

    Raises:
        ArtifactError: a part does not fit the layout.
    """
    arrays = _invert(parts, layout)
    files = write_arrays(folder, arrays)
    return {"folder": folder.name, "images": len(arrays["norm"]), "postings": len(arrays["images"]), "files": files}


def _invert(parts: Iterable[Aggregated], layout: Layout) -> dict[str, npt.NDArray[Any]]:
    words: list[npt.NDArray[np.int32]] = [np.empty(0, np.int32)]
    images: list[npt.NDArray[np.uint32]] = [np.empty(0, np.uint32)]
    vectors: list[npt.NDArray[Any]] = [np.empty((0, columns(layout.dim, binary=layout.binary)), layout.dtype)]
    count = 0
    for part in parts:
        layout.require(part, f"images from {count}")
        words.append(part.words)
        images.append(part.images + np.uint32(count))
        vectors.append(part.vectors)
        count += part.count
    by_word, by_image = np.concatenate(words), np.concatenate(images)
    order = np.argsort(by_word, kind="stable")  # images ascend already
    return {
        "offsets": np.append(0, np.cumsum(np.bincount(by_word, minlength=layout.words))),
        "images": by_image[order],
        layout.vectors: np.concatenate(vectors)[order],
        "norm": np.sqrt(np.bincount(by_image, minlength=count)).astype(np.float32),
    }


def open_segment(root: Path, entry: dict[str, Any], base: int, layout: Layout) -> Segment:
    """Map a segment into memory and check its sizes and offsets, not its contents.

    Args:
        root: folder of the index.
        entry: what `write_segment` returned.
        base: id of its first image.

    Raises:
        ArtifactError: naming the damaged file.
    """
    folder, count, postings, files = root / entry["folder"], entry["images"], entry["postings"], entry["files"]
    width = columns(layout.dim, binary=layout.binary)
    offsets = open_array(folder, "offsets", files, np.int64, (layout.words + 1,))
    if offsets[0] != 0 or offsets[-1] != postings or (np.diff(offsets) < 0).any():
        raise ArtifactError(f"{folder / 'offsets.npy'}: does not rise from 0 to {postings} postings; {REBUILD}")
    return Segment(
        folder=folder,
        base=base,
        offsets=offsets,
        images=open_array(folder, "images", files, np.uint32, (postings,)),
        vectors=open_array(folder, layout.vectors, files, layout.dtype, (postings, width)),
        norm=open_array(folder, "norm", files, np.float32, (count,)),
    )


def write_arrays(folder: Path, arrays: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
    """Write arrays as `<name>.npy` of a new folder; returns size and SHA-256 of each file."""
    with staged_folder(folder) as staged:
        for name, array in arrays.items():
            np.save(staged / f"{name}.npy", array)
        return {
            path.name: {"bytes": path.stat().st_size, "sha256": hash_file(path)} for path in sorted(staged.iterdir())
        }


def open_array(folder: Path, name: str, files: dict[str, Any], dtype: Any, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Map `<name>.npy` of a folder into memory, read-only.

    Raises:
        ArtifactError: its size, type or shape is not what it was written with.
    """
    path = folder / f"{name}.npy"
    size = path.stat().st_size if path.is_file() else None
    if size != files[path.name]["bytes"]:
        expected = files[path.name]["bytes"]
        raise ArtifactError(
            f"{path}: {'missing' if size is None else f'{size} bytes'}, not {expected} bytes; {REBUILD}"
        )
    try:
        array = np.asarray(np.lib.format.open_memmap(path, mode="r"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: not a readable array ({error}); {REBUILD}") from None
    if array.dtype != dtype or array.shape != shape:
        expected = f"{np.dtype(dtype)} of shape {shape}"
        raise ArtifactError(f"{path}: {array.dtype} of shape {array.shape}, not {expected}; {REBUILD}")
    return array
