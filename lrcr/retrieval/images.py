"""The table of the images that an index stores, one row for each in the order of the segments, as Parquet.

- `image`: the id, which an image keeps as long as it is in the index; ids are not used again
- `name`: unique among the images that were not removed
- `root`: number of the folder in the fact `roots` of the manifest to which `path` and `archive` are relative
- `path`, `width`, `height`, `label`, `mask`, `archive`, `offset`, `bytes`: as in a dataset (`lrcr.data.dataset`)
- `sha256`: hash of the image file; null where the dataset does not know it
- `regions`: boxes that are described beside the whole image (`lrcr.data.dataset.Photo`), x0 y0 x1 y1 of one after the
  other; null: the image has no regions
"""

import hashlib
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from lrcr.data.dataset import Dataset
from lrcr.data.images import Box
from lrcr.errors import ArtifactError, ParamsError, counted
from lrcr.storage.arrays import REBUILD
from lrcr.storage.artifacts import staged_file

COLUMNS = {
    "image": "int64",
    "name": "string",
    "root": "int64",
    "path": "string",
    "width": "int64",
    "height": "int64",
    "label": "string",
    "mask": "string",
    "archive": "string",
    "offset": "Int64",
    "bytes": "Int64",
    "sha256": "string",
    "regions": "object",
}


def images_of(dataset: Dataset, hashes: dict[str, str]) -> pd.DataFrame:
    """The table of the images of a dataset, whose names are their paths.

    Args:
        hashes: path → SHA-256, of the images whose hash is known.
    """
    paths = dataset.images["path"]
    return typed(dataset.images.assign(name=paths, root=0, sha256=paths.map(hashes)))


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """A table with all columns, in their order; those that are missing are null."""
    missing = [column for column in COLUMNS if column not in table]
    return table.assign(**dict.fromkeys(missing))[list(COLUMNS)].astype(COLUMNS).reset_index(drop=True)


def flat_boxes(regions: Iterable[Sequence[Box] | None]) -> pd.Series:
    """The column `regions` of some images from the boxes of each."""
    return pd.Series([None if boxes is None else list(chain.from_iterable(boxes)) for boxes in regions], dtype=object)


def read_boxes(numbers: npt.NDArray[np.float64] | None) -> tuple[Box, ...] | None:
    """The boxes of an image from its value in the column `regions`."""
    if numbers is None:
        return None
    return tuple((float(x0), float(y0), float(x1), float(y1)) for x0, y0, x1, y1 in np.reshape(numbers, (-1, 4)))


def write_images(file: Path, table: pd.DataFrame) -> None:
    """Write a table, atomically."""
    with staged_file(file) as temporary:
        table.to_parquet(temporary, index=False)


def read_images(file: Path, contents: npt.NDArray[np.uint8], facts: dict[str, Any]) -> pd.DataFrame:
    """Read the table of an index.

    Args:
        file: for error messages, and its name.
        contents: its bytes.
        facts: of the manifest of the index.

    Raises:
        ArtifactError: the table is not that of the index.
    """
    if hashlib.sha256(contents.data).hexdigest() != facts["beside"]["files"][file.name]["sha256"]:
        raise ArtifactError(f"{file}: altered since the index was made; {REBUILD}")
    table = pd.read_parquet(pa.BufferReader(contents))
    stored = sum(entry["images"] for entry in facts["segments"])
    if len(table) != stored or list(table.columns) != list(COLUMNS):
        raise ArtifactError(f"{file}: {len(table)} images, but the segments hold {stored}; {REBUILD}")
    return typed(table)


def locate_images(table: pd.DataFrame, roots: Sequence[Path]) -> pd.DataFrame:
    """The table with the roots before `path` (of images that are no part of an archive) and before `archive`."""
    folders = pd.Series(list(map(str, roots)), dtype="string").reindex(table["root"]).reset_index(drop=True) + "/"
    archived = table["archive"].notna().to_numpy()
    paths = (folders + table["path"].reset_index(drop=True)).where(~archived, table["path"].reset_index(drop=True))
    archives = folders + table["archive"].reset_index(drop=True)
    return table.assign(path=paths.to_numpy(), archive=archives.to_numpy()).astype(
        {"path": "string", "archive": "string"}
    )


def choose_roots(stored: Sequence[str], moved: Sequence[Path], place: str) -> list[Path]:
    """The folders of the images of an index: those that it stores, or where these are now.

    Args:
        moved: none, or one for each stored folder: a folder of photos as `lrcr index` takes it; of an empty index, any.
        place: the index, for the error message.

    Raises:
        ParamsError: the numbers of folders differ.
    """
    if not moved or not stored:
        return [Path(root) for root in stored]
    if len(moved) != len(stored):
        given = f"{counted(len(moved), 'folder')}, but the images of {place} lie in {len(stored)}"
        raise ParamsError(f"--photos: {given} ({', '.join(stored)}); repeat the option for each, in this order")
    pairs = zip(stored, moved, strict=True)
    return [(now / "images" if Path(was).name == "images" != now.name else now).resolve() for was, now in pairs]
