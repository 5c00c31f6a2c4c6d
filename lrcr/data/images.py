"""From an image file to the network's input: decode, orient, crop, resize, normalise. All images are read here.

`lrcr.data.formats` and `lrcr.data.decoding` say which files are read, and how they become 8-bit RGB. Crops are decoded
in full; whole images at reduced size where that is enough. Sizes and positions are always in pixels of the full image.

A box is given in pixels of the image as it is read: with EXIF orientation if that is applied (as a viewer shows the
image), else of the stored image. Pillow orients TIFF files while it decodes them, and libheif HEIC / HEIF files: there
the oriented image is the stored one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from lrcr.data.decoding import ImageFile, decode
from lrcr.errors import ImageError

if TYPE_CHECKING:
    from torch import Tensor

Box = tuple[float, float, float, float]
Size = tuple[int, int]

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class Orientation(NamedTuple):
    """One value of the EXIF tag: Pillow's operation, and the same as mirroring followed by a swap of the axes."""

    transpose: Image.Transpose | None
    mirror_x: bool
    mirror_y: bool
    swap: bool


_UPRIGHT = Orientation(None, False, False, False)
ORIENTATIONS = {
    2: Orientation(Image.Transpose.FLIP_LEFT_RIGHT, True, False, False),
    3: Orientation(Image.Transpose.ROTATE_180, True, True, False),
    4: Orientation(Image.Transpose.FLIP_TOP_BOTTOM, False, True, False),
    5: Orientation(Image.Transpose.TRANSPOSE, False, False, True),
    6: Orientation(Image.Transpose.ROTATE_270, False, True, True),
    7: Orientation(Image.Transpose.TRANSVERSE, True, True, True),
    8: Orientation(Image.Transpose.ROTATE_90, True, False, True),
}
"""Value of the EXIF tag → how an image is turned upright; other values: it is upright."""


@dataclass(frozen=True)
class LoadedImage:
    """A decoded image, or a crop of one.

    Args:
        pixels: 8-bit RGB; cropped and oriented.
        full_size: width and height of the whole image, oriented like `pixels`.
        origin: x and y of the upper-left corner of `pixels` in the whole oriented image.
        window: the part of `pixels` that a whole image covers, if it may have been decoded at reduced size: there the
            last column and row can lie partly outside the image. None: `pixels` are those of the file.
    """

    pixels: Image.Image
    full_size: Size
    origin: tuple[int, int] = (0, 0)
    window: Box | None = None

    @property
    def size(self) -> Size:
        """Width and height of the crop or whole image in pixels of the full image."""
        return self.full_size if self.window else self.pixels.size


def load_image(
    path: ImageFile,
    *,
    orient: bool,
    box: Box | None = None,
    image_size: int | None = None,
    tolerate_truncated: bool = False,
) -> LoadedImage:
    """Decode an image file by the rules of `lrcr.data.decoding`, orient and crop it.

    Args:
        orient: whether EXIF orientation is applied.
        box: x0, y0, x1, y1 in pixels of the image, oriented if `orient`; rounded to whole pixels as Pillow's `crop`
            does.
        image_size: to which `resize` will resize the image, which may therefore be decoded at reduced size. None: at
            full size.
        tolerate_truncated: whether a JPEG that lacks its last bytes is decoded as far as it goes.

    Raises:
        UnknownFormatError: the file is not an image of a known format.
        ImageError: it cannot be opened or decoded, or the box is empty or reaches outside the image.
    """
    found = decode(path, image_size if box is None else None, tolerate_truncated=tolerate_truncated)
    pixels, stored, window = found.pixels, found.size, found.window
    orientation = ORIENTATIONS.get(found.orientation, _UPRIGHT) if orient else _UPRIGHT
    if window is not None:
        window = orient_box(window, pixels.size, orientation)
    if orientation.transpose is not None:
        pixels = pixels.transpose(orientation.transpose)
    full_size = (stored[1], stored[0]) if orientation.swap else stored
    if box is None:
        return LoadedImage(pixels, full_size, window=window)
    try:
        part = round_box(box, full_size, stored)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
    return LoadedImage(pixels.crop(part), full_size, part[:2])


def orient_box(box: Box, size: Size, orientation: Orientation) -> Box:
    """Where a box of an image of `size` is after the orientation is applied."""
    (x0, y0, x1, y1), (width, height) = box, size
    if orientation.mirror_x:
        x0, x1 = width - x1, width - x0
    if orientation.mirror_y:
        y0, y1 = height - y1, height - y0
    return (y0, x0, y1, x1) if orientation.swap else (x0, y0, x1, y1)


def round_box(box: Sequence[float], size: Size, stored: Size) -> tuple[int, int, int, int]:
    """Round a box to whole pixels of an image of `size` (width, height); the message names the `stored` size too.

    Raises:
        ImageError: it is not four finite numbers, or the rounded box is empty or reaches outside the image.
    """
    if len(box) != 4 or not np.isfinite(box).all():
        raise ImageError(f"box {list(box)} is not four finite numbers; give x0, y0, x1, y1 in pixels")
    x0, y0, x1, y1 = (round(value) for value in box)
    if x1 <= x0 or y1 <= y0:
        raise ImageError(f"box {list(box)} is empty; give x0, y0, x1, y1 in pixels with x0 < x1 and y0 < y1")
    if x0 < 0 or y0 < 0 or x1 > size[0] or y1 > size[1]:
        sizes = f"{size[0]} × {size[1]} pixels as shown, {stored[0]} × {stored[1]} as stored"
        raise ImageError(f"box {list(box)} reaches outside the image ({sizes}); give it in pixels as shown")
    return x0, y0, x1, y1


def prepare(loaded: LoadedImage, image_size: int) -> "Tensor":
    """Resize an image and normalise it with ImageNet's mean and standard deviation: float32 of shape (3, H, W).

    As in HOW (Tolias et al. 2020), the longest side of the whole image becomes `image_size`, a crop keeps that scale,
    and nothing is enlarged.
    """
    return normalise(resize(loaded, image_size))


def normalise(pixels: Image.Image) -> "Tensor":
    """Normalise 8-bit RGB with ImageNet's mean and standard deviation: float32 of shape (3, H, W)."""
    import torch  # takes seconds to import, and making a dataset needs no tensors

    values = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).contiguous()
    mean, deviation = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    return values.to(torch.float32).div_(255).sub_(mean).div_(deviation)


def resize(loaded: LoadedImage, image_size: int) -> Image.Image:
    """Resize the pixels (Lanczos) by the factor that makes the whole image's longest side at most `image_size`."""
    longest = image_size * max(loaded.size) / max(loaded.full_size)
    # A small crop of a large image could otherwise get a size below one pixel.
    target = _fit(loaded.size, max(math.floor(longest), 1))
    return loaded.pixels.resize(target, Image.Resampling.LANCZOS, box=loaded.window, reducing_gap=2)


def _fit(size: Size, longest: int) -> Size:
    """The size that Pillow's `thumbnail` gives to an image of `size` whose longest side may be at most `longest`."""
    width, height = size
    if max(size) <= longest:
        return size
    aspect = width / height
    shorter = longest * aspect if width <= height else longest / aspect
    candidates = (max(math.floor(shorter), 1), math.ceil(shorter))
    if width <= height:
        return min(candidates, key=lambda side: abs(aspect - side / longest)), longest
    return longest, min(candidates, key=lambda side: abs(aspect - longest / side))
