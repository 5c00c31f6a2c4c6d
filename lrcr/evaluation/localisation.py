"""Localisation: the share of the selected descriptors that is inside the landmark, compared with the landmark's area.

The region of the landmark in a database image is its mask, if the dataset has one, else the union of the boxes of the
queries that are this image. Of descriptors at random locations the share `area` would be inside; a larger share shows
that the model selects the landmark.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lrcr.data.dataset import Dataset, Photo
from lrcr.data.images import load_image
from lrcr.errors import DatasetError
from lrcr.features.store import Descriptors, DescriptorStore

Region = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Localisation:
    """The shares inside the landmark in percent, 0–100, as means over images.

    Args:
        descriptors: share of the selected descriptors, all scales together.
        attention: share of their attention, the sum of `strength`.
        area: share of the image's pixels; the share expected of descriptors at random locations.
        images: number of images with descriptors and a known region of the landmark.
    """

    descriptors: float
    attention: float
    area: float
    images: int


def measure_localisation(dataset: Dataset, database: DescriptorStore) -> Localisation | None:
    """Measure the localisation of the descriptors of a dataset's database.

    Returns:
        None if no image has a mask or a box.

    Raises:
        ArtifactError: the descriptors are damaged or fewer than the dataset's images.
        DatasetError: a mask does not have the size of its image.
        ImageError: a mask, or an image with a box, cannot be decoded.
    """
    boxes, masks = _boxes(dataset), dataset.images["mask"].fillna("")
    known = [image for image, mask in enumerate(masks) if mask or image in boxes]
    shares = []
    for image, local in zip(known, database.locations(known), strict=True):
        mask = masks[image]
        local = local.whole_images()
        region = _read_mask(dataset, image, dataset.root / mask) if mask else _draw_boxes(boxes[image])
        if region.any() and local.strength.sum() > 0:
            shares.append(_shares_inside(local, region))
    if not shares:
        return None
    descriptors, attention, area = (100 * float(np.mean(share)) for share in zip(*shares, strict=True))
    return Localisation(descriptors, attention, area, len(shares))


def _shares_inside(local: Descriptors, region: Region) -> tuple[float, float, float]:
    """The shares of descriptors, attention and area, 0–1, inside the region, of shape (H, W), of one image."""
    size = np.array(region.shape[::-1])
    x, y = np.minimum(local.xy.astype(np.int64), size - 1).T
    inside, strength = region[y, x], local.strength.astype(np.float64)
    return float(inside.mean()), float(strength[inside].sum() / strength.sum()), float(region.mean())


def _read_mask(dataset: Dataset, image: int, path: Path) -> Region:
    mask = load_image(path, orient=dataset.orient).pixels
    width, height = (int(dataset.images[side][image]) for side in ("width", "height"))
    if sorted(mask.size) != sorted((width, height)):
        found = f"{mask.width} × {mask.height} pixels"
        raise DatasetError(f"{path}: {found}, but its image has {width} × {height}; make the dataset again")
    return np.asarray(mask.convert("L")) > 127


def _boxes(dataset: Dataset) -> dict[int, list[Photo]]:
    """Image id → the queries with a box that are this image."""
    boxes: dict[int, list[Photo]] = {}
    for image, photo in zip(dataset.queries["image"].fillna(-1), dataset.query_photos(), strict=True):
        if image >= 0 and photo.box is not None:
            boxes.setdefault(int(image), []).append(photo)
    return boxes


def _draw_boxes(photos: Sequence[Photo]) -> Region:
    """The union of the boxes of one image, with the EXIF orientation that is applied to the image."""
    crops = [
        load_image(photo.path, orient=photo.orient, box=photo.box, tolerate_truncated=photo.tolerate_truncated)
        for photo in photos
    ]
    region = np.zeros(crops[0].full_size[::-1], np.bool_)
    for crop in crops:
        (x, y), (width, height) = crop.origin, crop.pixels.size
        region[y : y + height, x : x + width] = True
    return region
