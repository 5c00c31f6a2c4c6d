"""The optional table of regions of a dataset: boxes of objects in its images, from a detector or from the renderer.

`regions.parquet`: `image` (id), `x0 y0 x1 y1` (box in pixels as read, inside the image), `score` (larger: more
certain), one row a box. `dataset.json` holds its hash among the facts; a table that is not listed there, because it was
added later, is read too. It is no part of the dataset's fingerprint: only an extraction that reads it depends on it.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from lrcr.errors import ArtifactError, DatasetError
from lrcr.storage.artifacts import hash_file

REGIONS = "regions.parquet"
BOX = ("x0", "y0", "x1", "y1")
_DTYPES = {"image": "int64", **dict.fromkeys((*BOX, "score"), "float64")}


def empty_regions() -> pd.DataFrame:
    """The table without rows."""
    return pd.DataFrame({name: pd.Series(dtype=dtype) for name, dtype in _DTYPES.items()})


def write_regions(folder: Path, table: pd.DataFrame) -> str:
    """Write the table into the folder of a dataset; returns its hash."""
    table[list(_DTYPES)].astype(_DTYPES).to_parquet(folder / REGIONS, index=False)
    return hash_file(folder / REGIONS)


def read_regions(folder: Path, expected: str | None, images: pd.DataFrame) -> pd.DataFrame:
    """Read the table from the folder of a dataset, sorted by image; without rows if there is none.

    Args:
        expected: its hash, if `dataset.json` lists it.
        images: the table of images.

    Raises:
        ArtifactError: it is missing or altered since `dataset.json` was written.
        DatasetError: it is no such table, or a box does not fit its image.
    """
    file = folder / REGIONS
    if not file.exists() and expected is None:
        return empty_regions()
    if not file.exists() or hash_file(file) != (expected or hash_file(file)):
        raise ArtifactError(f"{file}: missing or altered since it was made; make the dataset again")
    try:
        table = pd.read_parquet(file)[list(_DTYPES)].astype(_DTYPES).reset_index(drop=True)
    except (OSError, KeyError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise DatasetError(f"{file}: not a table of {', '.join(_DTYPES)} ({reason}); write it again") from None
    _check(table, images, file)
    return table.sort_values("image", kind="stable").reset_index(drop=True)


def _check(table: pd.DataFrame, images: pd.DataFrame, file: Path) -> None:
    """Refuse unknown images, and boxes that are empty, reach outside the image or are not finite."""
    image = table["image"].to_numpy()
    known = (image >= 0) & (image < len(images))
    if not known.all():
        raise DatasetError(f"{file}: image {image[~known][0]} does not exist (0…{len(images) - 1}); correct it")
    size = images[["width", "height"]].to_numpy()[image]
    corners, score = table[list(BOX)].to_numpy(), table["score"].to_numpy()
    whole = np.round(corners)  # as a box is rounded where the image is cropped
    inside = (whole[:, :2] >= 0) & (whole[:, :2] < whole[:, 2:]) & (whole[:, 2:] <= size)
    wrong = np.flatnonzero(~(inside.all(axis=1) & np.isfinite(score) & np.isfinite(corners).all(axis=1)))
    if len(wrong):
        row = wrong[0]
        (width, height), box = size[row], corners[row].tolist()
        raise DatasetError(
            f"{file}: row {row}: box {box} with score {score[row]} is no region of image {image[row]} "
            f"({width} × {height} pixels as read); correct it"
        )
