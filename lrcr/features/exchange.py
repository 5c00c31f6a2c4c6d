"""The descriptors of images for other programs: as Parquet with a row for each image, or as arrays in an .npz.

Both hold what an image has: `descriptors` (N, D), `xy` (N, 2) in pixels of the original image, where 0 is its left or
upper edge, `strength` (N), `scale` (N), and `vector` (V).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import batched, chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from lrcr.errors import ArtifactError
from lrcr.features.store import Descriptors
from lrcr.storage.artifacts import staged_file

Array = npt.NDArray[np.floating[Any]]

_ROWS = {"descriptors": "descriptors", "xy": "xy", "strength": "strength", "scale": "scale"}
_AT_ONCE = 256  # images of a row group


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """What is known of an image.

    Args:
        name: of the image.
        width: of the original image, in pixels.
        height: likewise.
        arrays: `descriptors`, `xy`, `strength`, `scale` and `vector`, as far as there are any; all images of a file
            have the same ones.
    """

    name: str
    width: int
    height: int
    arrays: dict[str, Array]
