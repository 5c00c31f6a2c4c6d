"""Regions of database images, each described on its own (Teichmann et al., CVPR 2019)."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd

from lrcr.config.retrieval import ExtractParams
from lrcr.data.dataset import Dataset, Photo
from lrcr.data.images import Box
from lrcr.data.regions import BOX
from lrcr.errors import DatasetError
from lrcr.features.store import Descriptors
from lrcr.models.pooling import squares

_LEVELS, _OVERLAP = 3, 0.4  # of R-MAC


def database_photos(dataset: Dataset, extract: ExtractParams) -> list[Photo]:
    """The images of the database, by id, each with its regions if `extract.regions` asks for them.

    Raises:
        DatasetError: the dataset has no table of regions, but `extract.regions` is `detected`.
    """
    photos = dataset.photos()
    if extract.regions == "none":
        return photos
    regions = grids(dataset.images) if extract.regions == "grid" else _detected(dataset, extract.min_region_score)
    return [replace(photo, regions=boxes) for photo, boxes in zip(photos, regions, strict=True)]


def grids(images: pd.DataFrame) -> list[tuple[Box, ...]]:
    """The regions of R-MAC of each image of a table with `width` and `height`."""
    sizes = images[["width", "height"]].itertuples(index=False, name=None)
    return [grid_boxes(width, height) for width, height in sizes]


def grid_boxes(width: int, height: int) -> tuple[Box, ...]:
    """The square regions of R-MAC of an image of this size in pixels: x0, y0, x1, y1, without the whole image."""
    found = squares(height, width, _LEVELS, _OVERLAP)
    boxes = ((float(left), float(top), float(left + side), float(top + side)) for top, left, side in found)
    return tuple(box for box in boxes if box != (0.0, 0.0, float(width), float(height)))


def _detected(dataset: Dataset, min_score: float) -> list[tuple[Box, ...]]:
    if dataset.regions.empty:
        raise DatasetError(f"{dataset.name}: has no regions.parquet; add it, or set extract.regions to grid or none")
    table = dataset.regions[dataset.regions["score"] >= min_score]
    boxes = list(table[list(BOX)].itertuples(index=False, name=None))
    ends = np.searchsorted(table["image"], np.arange(len(dataset.images) + 1))
    return [tuple(boxes[start:end]) for start, end in pairwise(ends)]


def regions_as_photos(photos: Sequence[Photo]) -> list[Photo]:
    """Each photo, followed by a photo for each of its regions."""
    return [replace(photo, box=box, regions=None) for photo in photos for box in (photo.box, *(photo.regions or ()))]


def join_regions(described: Descriptors, photos: Sequence[Photo]) -> Descriptors:
    """The descriptors of photos from those of `regions_as_photos`: the regions of a photo are one image again."""
    counts = np.array([1 + len(photo.regions or ()) for photo in photos])
    numbers = np.concatenate([np.arange(count, dtype=np.int32) for count in counts])
    return replace(
        described,
        offsets=described.offsets[np.append(0, np.cumsum(counts))],
        region=np.repeat(numbers, np.diff(described.offsets)),
        region_counts=counts.astype(np.int32),
    )
