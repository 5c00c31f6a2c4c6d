"""The descriptors of images for other programs: as Parquet with a row for each image, or as arrays in an .npz."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lrcr.errors import ArtifactError
from lrcr.storage.artifacts import staged_file

Array = npt.NDArray[np.floating[Any]]

_AT_ONCE = 256  # images of a row group of Parquet


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """What is known of an image.

    Args:
        name: of the image, unique.
        width: of the original image, in pixels; it is turned by its EXIF orientation where the dataset does that.
        height: likewise.
        arrays: what there is of `descriptors` (N, D), `xy` (N, 2), `strength` (N,), `scale` (N,) and `vector` (V,);
            the same for all images. `xy` is in pixels; the left and the upper edge of the image are at 0.
    """

    name: str
    width: int
    height: int
    arrays: dict[str, Array]


def write_parquet(file: Path, images: Iterable[ImageFeatures]) -> int:
    """Write a row for each image, atomically and in blocks: `image`, `width`, `height`, and a column for each array.

    Returns:
        The number of images.

    Raises:
        ArtifactError: there are no images, or a name occurs twice.
    """
    waiting: list[ImageFeatures] = []
    writer, count = None, 0
    with staged_file(file) as temporary:
        try:
            for image in each_once(images, file):
                waiting.append(image)
                count += 1
                if writer is None:
                    writer = pq.ParquetWriter(temporary, _table([image]).schema)
                if len(waiting) == _AT_ONCE:
                    writer.write_table(_table(waiting))
                    waiting = []
            if writer is not None and waiting:
                writer.write_table(_table(waiting))
        finally:
            if writer is not None:
                writer.close()
    return count


def write_npz(file: Path, images: Iterable[ImageFeatures]) -> int:
    """Write arrays over all images, atomically: `names`, `sizes` (width, height), and each array one after the other.

    Image i owns the rows offsets[i]:offsets[i+1] of `descriptors`, `xy`, `strength` and `scale`, and the row i of
    `vector`. All of it is held in memory.

    Returns:
        The number of images.

    Raises:
        ArtifactError: as `write_parquet`.
    """
    every = list(each_once(images, file))
    arrays: dict[str, npt.NDArray[Any]] = {
        "names": np.array([image.name for image in every]),
        "sizes": np.array([(image.width, image.height) for image in every], np.int64),
    }
    for name in every[0].arrays:
        parts = [image.arrays[name] for image in every]
        arrays[name] = np.stack(parts) if name == "vector" else np.concatenate(parts)
    if "descriptors" in arrays:
        arrays["offsets"] = np.cumsum([0, *(len(image.arrays["descriptors"]) for image in every)])
    with staged_file(file) as temporary, temporary.open("wb") as opened:
        np.savez(opened, **arrays)  # type: ignore[arg-type]
    return len(every)


def each_once(images: Iterable[ImageFeatures], file: Path) -> Iterable[ImageFeatures]:
    """The images, of which there is at least one, with different names.

    Args:
        file: that is written, for error messages.

    Raises:
        ArtifactError: there are none, or a name occurs twice.
    """
    seen: set[str] = set()
    for image in images:
        if image.name in seen:
            raise ArtifactError(f"{file}: two images are named {image.name!r}; export images of different names")
        seen.add(image.name)
        yield image
    if not seen:
        raise ArtifactError(f"{file}: there are no images to write; name a source that has some")


def _table(images: list[ImageFeatures]) -> pa.Table:
    columns: dict[str, pa.Array] = {
        "image": pa.array([image.name for image in images], pa.string()),
        "width": pa.array([image.width for image in images], pa.int64()),
        "height": pa.array([image.height for image in images], pa.int64()),
    }
    for name in images[0].arrays:
        columns[name] = _column([image.arrays[name] for image in images], by_row=name != "vector")
    return pa.table(columns)


def _column(arrays: list[Array], *, by_row: bool) -> pa.Array:
    """A list for each array: of its rows, if these belong to descriptors, and of numbers otherwise."""
    if not by_row:
        return pa.FixedSizeListArray.from_arrays(pa.array(np.concatenate(arrays)), len(arrays[0]))
    rows = np.concatenate(arrays)
    values = pa.array(rows.ravel())
    if rows.ndim == 2:
        values = pa.FixedSizeListArray.from_arrays(values, rows.shape[1])
    return pa.ListArray.from_arrays(pa.array(np.cumsum([0, *map(len, arrays)]), pa.int32()), values)
