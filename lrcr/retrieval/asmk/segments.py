"""An immutable segment of the inverted file: the postings of consecutive images, sorted by word and then by image.

It is a folder of memory-mapped arrays: `offsets` (words + 1) int64; `images` (postings) uint32, relative to the first
image of the segment, or the same ids as `packed` uint64 with `starts` (words + 1) int64 (see
`lrcr.retrieval.asmk.packing`); `codes` (postings, ⌈D/64⌉) uint64 or `residuals` (postings, D) float16; and `norm`
(images) float32, the square root of the number of words of each image.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.errors import ArtifactError
from lrcr.retrieval.asmk.aggregation import Aggregated, columns
from lrcr.retrieval.asmk.lists import Lists
from lrcr.retrieval.asmk.packing import pack_ids
from lrcr.runtime.jit import serial
from lrcr.storage.arrays import REBUILD, open_array, write_arrays


@dataclass(frozen=True, eq=False)
class Segment:
    """A segment open for search.

    Args:
        folder: of the segment.
        base: id of its first image.
        lists: its arrays; their ids are not checked on opening.
    """

    folder: Path
    base: int
    lists: Lists

    @property
    def count(self) -> int:
        """The number of images."""
        return len(self.lists.norm)


@dataclass(frozen=True)
class Layout:
    """The common format of all segments of an index.

    Args:
        words: size of the codebook.
        dim: D.
        binary: whether the vectors are sign bits.
        packed: whether the image ids are packed.
    """

    words: int
    dim: int
    binary: bool
    packed: bool = False

    def require(self, postings: Aggregated, place: str) -> None:
        """Refuse postings that do not fit.

        Raises:
            ArtifactError: the dimension or the kind of vectors differs, or a word is not in the codebook.
        """
        if (postings.dim, postings.binary) != (self.dim, self.binary):
            found, expected = f"D = {postings.dim}, binary = {postings.binary}", f"{self.dim}, {self.binary}"
            raise ArtifactError(
                f"{place}: postings of {found}, but the index has {expected}; aggregate them with its params"
            )
        if len(postings.words) and not 0 <= postings.words.min() <= postings.words.max() < self.words:
            wrong = postings.words.min() if postings.words.min() < 0 else postings.words.max()
            raise ArtifactError(f"{place}: word {wrong} is not in 0…{self.words - 1}; assign with the index's codebook")

    @property
    def vectors(self) -> str:
        """The name of the array of vectors."""
        return "codes" if self.binary else "residuals"

    @property
    def dtype(self) -> Any:
        """The type of the vectors."""
        return np.uint64 if self.binary else np.float16

    @property
    def posting_bytes(self) -> int:
        """Memory that a posting takes while postings are sorted, in bytes: its source and its target."""
        vector: int = columns(self.dim, binary=self.binary) * np.dtype(self.dtype).itemsize
        return 2 * (vector + 8)


def write_segments(
    root: Path, parts: Iterable[Aggregated], layout: Layout, memory: int, number: int = 0
) -> list[dict[str, Any]]:
    """Write postings into segments, at least one; a new segment begins when `memory` is full.

    Args:
        root: folder of the index.
        parts: batches of postings of consecutive images.
        memory: bytes that the postings of a segment may take while they are sorted; a single part may take more.
        number: of the first segment.

    Returns:
        What `write_segment` returned for each segment.

    Raises:
        ArtifactError: a part does not fit the layout.
    """
    entries: list[dict[str, Any]] = []
    waiting: list[Aggregated] = []
    postings = 0
    for part in parts:
        layout.require(part, f"images from {sum(e['images'] for e in entries) + sum(p.count for p in waiting)}")
        if waiting and (postings + len(part.words)) * layout.posting_bytes > memory:
            entries.append(write_segment(root / f"segment-{number + len(entries):04d}", waiting, layout))
            waiting, postings = [], 0
        waiting.append(part)
        postings += len(part.words)
    if waiting or not entries:
        entries.append(write_segment(root / f"segment-{number + len(entries):04d}", waiting, layout))
    return entries


def write_segment(folder: Path, parts: Sequence[Aggregated], layout: Layout) -> dict[str, Any]:
    """Write the folder of one segment; it appears whole or not at all.

    Args:
        folder: the new segment, inside the folder of the index.
        parts: batches of postings of consecutive images; they fit the layout.

    Returns:
        The segment's entry in the manifest of the index: `folder`, the numbers of `images`, `postings` and `assigned`
        (assignments of descriptors to words), and `files` with sizes and hashes.
    """
    arrays = _invert(parts, layout)
    files = write_arrays(folder, arrays)
    return {
        "folder": folder.name,
        "images": len(arrays["norm"]),
        "postings": int(arrays["offsets"][-1]),
        "assigned": sum(part.assigned for part in parts),
        "files": files,
    }


def _invert(parts: Sequence[Aggregated], layout: Layout) -> dict[str, npt.NDArray[Any]]:
    """Sort the postings by word (counting sort); within a word images ascend, as in the parts."""
    counts = sum((np.bincount(part.words, minlength=layout.words) for part in parts), np.zeros(layout.words, np.int64))
    offsets = np.append(0, np.cumsum(counts))
    images = np.empty(offsets[-1], np.uint32)
    vectors = np.empty((offsets[-1], columns(layout.dim, binary=layout.binary)), layout.dtype)
    words_per_image = [np.empty(0, np.int64)]
    free, base = offsets[:-1].copy(), 0
    for part in parts:
        target, source = (as_bits(array) for array in (vectors, part.vectors))
        _scatter(part.words, part.images, base, source, free, images, target)
        words_per_image.append(np.bincount(part.images, minlength=part.count))
        base += part.count
    arrays: dict[str, npt.NDArray[Any]] = {
        "offsets": offsets,
        layout.vectors: vectors,
        "norm": np.sqrt(np.concatenate(words_per_image)).astype(np.float32),
    }
    if not layout.packed:
        return {**arrays, "images": images}
    packed, starts = pack_ids(images, offsets)
    return {**arrays, "packed": packed, "starts": starts}


def as_bits(vectors: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Vectors as the kernels take them: float16 as bits, because numba has no float16 on the CPU."""
    return vectors.view(np.uint16) if vectors.dtype == np.float16 else vectors


@serial
def _scatter(
    words: npt.NDArray[np.int32],
    images: npt.NDArray[np.uint32],
    base: int,
    vectors: npt.NDArray[Any],
    free: npt.NDArray[np.int64],
    to_images: npt.NDArray[np.uint32],
    to_vectors: npt.NDArray[Any],
) -> None:
    """Copy each posting to the next free place of its word."""
    for posting in range(len(words)):
        place = free[words[posting]]
        free[words[posting]] = place + 1
        to_images[place] = images[posting] + base
        for c in range(vectors.shape[1]):
            to_vectors[place, c] = vectors[posting, c]


def open_segments(root: Path, entries: Sequence[dict[str, Any]], layout: Layout) -> tuple[Segment, ...]:
    """Map segments into memory, in the order of their images; see `open_segment`."""
    bases = np.cumsum([0, *(entry["images"] for entry in entries)])
    return tuple(open_segment(root, entry, int(base), layout) for entry, base in zip(entries, bases, strict=False))


def open_segment(root: Path, entry: dict[str, Any], base: int, layout: Layout) -> Segment:
    """Map a segment into memory. Sizes and offsets are checked, the contents are not.

    Args:
        root: folder of the index.
        entry: what `write_segment` returned.
        base: id of its first image.

    Raises:
        ArtifactError: a file is missing or damaged; the message names it.
    """
    folder, count, postings, files = root / entry["folder"], entry["images"], entry["postings"], entry["files"]
    width = columns(layout.dim, binary=layout.binary)
    vectors = as_bits(open_array(folder, layout.vectors, files, layout.dtype, (postings, width)))
    offsets = _open_offsets(folder, "offsets", files, layout, postings)
    images, packed, starts = _empty(np.uint32, 0), _empty(np.uint64, 0), offsets
    if layout.packed:
        packed = open_array(folder, "packed", files, np.uint64, None)
        starts = _open_offsets(folder, "starts", files, layout, len(packed) - 1)
    else:
        images = open_array(folder, "images", files, np.uint32, (postings,))
    lists = Lists(
        offsets=offsets,
        images=images,
        packed=packed,
        starts=starts,
        codes=vectors if layout.binary else _empty(np.uint64, 0, 0),
        residuals=_empty(np.uint16, 0, 0) if layout.binary else vectors,
        norm=open_array(folder, "norm", files, np.float32, (count,)),
    )
    return Segment(folder, base, lists)


def _empty(dtype: Any, *shape: int) -> npt.NDArray[Any]:
    """An empty array, read-only as mapped arrays are, so that numba compiles the kernels only once."""
    array = np.empty(shape, dtype)
    array.flags.writeable = False
    return array


def _open_offsets(folder: Path, name: str, files: dict[str, Any], layout: Layout, end: int) -> npt.NDArray[np.int64]:
    offsets = open_array(folder, name, files, np.int64, (layout.words + 1,))
    if offsets[0] != 0 or offsets[-1] != end or (np.diff(offsets) < 0).any():
        raise ArtifactError(f"{folder / name}.npy: does not rise from 0 to {end}; {REBUILD}")
    return offsets
