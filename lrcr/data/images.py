"""From an image file to the network's input: decode, crop, orient, resize, normalise. All images are read here.

Formats: JPEG, PNG, WebP, BMP, TIFF and GIF (the first of several frames), recognised by content. Every image is
converted to 8-bit RGB:

- alpha, palettes with transparency and transparent colours are composited on white;
- grey, 1-bit, palette and CMYK / YCCK images are converted by Pillow; colour profiles are not applied;
- of 16 bits per channel the low byte is dropped; other integer ranges and floats are refused;
- damaged and truncated files, and images beyond Pillow's decompression-bomb limit, are refused.

Where only an image of `image_size` is needed, a large JPEG is decoded at ½, ¼ or ⅛ of its size (DCT scaling): if that
leaves its longest side at least twice as long as `image_size`. Crops, other formats and smaller JPEGs are decoded in
full. Sizes and positions are always in pixels of the full image.

A box is given in pixels of the image as stored, before EXIF orientation. Pillow orients TIFF files while it decodes
them: of a TIFF file, the oriented image is treated as the stored one.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from lrcr.errors import ImageError

if TYPE_CHECKING:
    from torch import Tensor

Box = tuple[float, float, float, float]
Size = tuple[int, int]
Number = TypeVar("Number", int, float)

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class ImageFile(Protocol):
    """A file to read an image from: a `Path`, or a file inside an archive. `str` of it is its name in messages."""

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """A stream of the bytes of the file."""
        ...


class UnknownFormatError(ImageError):
    """A file in none of the known image formats (a damaged image raises a plain `ImageError`)."""


class _Orientation(NamedTuple):
    """One value of the EXIF tag: Pillow's operation, and the same as mirroring followed by a swap of the axes."""

    transpose: Image.Transpose | None
    mirror_x: bool
    mirror_y: bool
    swap: bool


_UPRIGHT = _Orientation(None, False, False, False)
_ORIENTATIONS = {
    2: _Orientation(Image.Transpose.FLIP_LEFT_RIGHT, True, False, False),
    3: _Orientation(Image.Transpose.ROTATE_180, True, True, False),
    4: _Orientation(Image.Transpose.FLIP_TOP_BOTTOM, False, True, False),
    5: _Orientation(Image.Transpose.TRANSPOSE, False, False, True),
    6: _Orientation(Image.Transpose.ROTATE_270, False, True, True),
    7: _Orientation(Image.Transpose.TRANSVERSE, True, True, True),
    8: _Orientation(Image.Transpose.ROTATE_90, True, False, True),
}


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


class _Stored(NamedTuple):
    """An image as stored, not oriented: pixels, full size, window (see `LoadedImage`) and EXIF orientation."""

    pixels: Image.Image
    size: Size
    window: Box | None
    orientation: _Orientation


def load_image(path: ImageFile, *, orient: bool, box: Box | None = None, image_size: int | None = None) -> LoadedImage:
    """Decode an image file by the rules of this module.

    Args:
        orient: whether EXIF orientation is applied (after the crop).
        box: x0, y0, x1, y1 in pixels of the stored, unrotated image; rounded to whole pixels as Pillow's `crop` does.
        image_size: to which `resize` will resize the image, which may therefore be decoded at reduced size. None: at
            full size.

    Raises:
        UnknownFormatError: the file is not an image of a known format.
        ImageError: it cannot be opened or decoded, or the box is empty or reaches outside the image.
    """
    pixels, size, window, orientation = _decode(path, image_size if box is None else None)
    if not orient:
        orientation = _UPRIGHT
    try:
        part = (0, 0, *size) if box is None else round_box(box, size)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
    if box is not None:
        pixels = pixels.crop(part)
    if window is not None:
        window = _orient_box(window, pixels.size, orientation)
    if orientation.transpose is not None:
        pixels = pixels.transpose(orientation.transpose)
    full_size = (size[1], size[0]) if orientation.swap else size
    return LoadedImage(pixels, full_size, _orient_box(part, size, orientation)[:2], window)


def _orient_box(
    box: tuple[Number, Number, Number, Number], size: Size, orientation: _Orientation
) -> tuple[Number, Number, Number, Number]:
    """Where a box of an image of `size` is after the orientation is applied."""
    (x0, y0, x1, y1), (width, height) = box, size
    if orientation.mirror_x:
        x0, x1 = width - x1, width - x0
    if orientation.mirror_y:
        y0, y1 = height - y1, height - y0
    return (y0, x0, y1, x1) if orientation.swap else (x0, y0, x1, y1)


def round_box(box: Sequence[float], size: Size) -> tuple[int, int, int, int]:
    """Round a box to whole pixels of an image of `size` (width, height).

    Raises:
        ImageError: it is not four finite numbers, or the rounded box is empty or reaches outside the image.
    """
    if len(box) != 4 or not np.isfinite(box).all():
        raise ImageError(f"box {list(box)} is not four finite numbers; give x0, y0, x1, y1 in pixels")
    x0, y0, x1, y1 = (round(value) for value in box)
    if x1 <= x0 or y1 <= y0:
        raise ImageError(f"box {list(box)} is empty; give x0, y0, x1, y1 in pixels with x0 < x1 and y0 < y1")
    if x0 < 0 or y0 < 0 or x1 > size[0] or y1 > size[1]:
        stored = f"{size[0]} × {size[1]} pixels as stored"
        raise ImageError(f"box {list(box)} reaches outside the image ({stored}); give it in these pixels")
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


def _decode(path: ImageFile, image_size: int | None) -> _Stored:
    """The pixels of a file as 8-bit RGB; those of a large JPEG reduced if only an image of `image_size` is needed."""
    try:
        with path.open("rb") as file, Image.open(_refuse_empty(file), formats=FORMATS) as image:
            full_size, window = image.size, None if image_size is None else _reduce(image, image_size)
            image.load()
            pixels = _to_rgb(image)
            return _Stored(pixels, full_size if window else pixels.size, window, _read_orientation(image))
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from None
    except _EmptyFileError:
        raise UnknownFormatError(f"{path}: an empty file (0 bytes); copy it again") from None
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise UnknownFormatError(f"{path}: not an image of a known format; convert it to one of {known}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{path}: beyond the decompression-bomb limit ({error}); make it smaller") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({_reason(error)}); copy or export it again") from None
    except Exception as error:  # the decoders raise many types of errors on damaged files
        raise ImageError(f"{path}: damaged ({_reason(error)}); copy or export it again") from None


def _reduce(image: Image.Image, image_size: int) -> Box | None:
    """Let a JPEG be decoded at reduced size by the rule of this module; see `LoadedImage` for the window returned."""
    # Pillow takes the largest factor of 1, 2, 4 and 8 that leaves no side shorter than is asked for.
    least = (2 * image_size, 1) if image.width >= image.height else (1, 2 * image_size)
    drafted = image.draft(None, least)
    return drafted[1] if drafted else None


class _EmptyFileError(Exception):
    """The file has 0 bytes."""


def _refuse_empty(file: BinaryIO) -> BinaryIO:
    if not file.read(1):
        raise _EmptyFileError
    file.seek(0)
    return file


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _drop_low_byte(image).convert("RGB")
    if image.mode == "F":
        raise ImageError("floating-point pixels have no standard range; convert it to 8 or 16 bits per channel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _drop_low_byte(image: Image.Image) -> Image.Image:
    """Convert 16-bit grey to 8-bit grey; Pillow's own conversion would clip all values above 255."""
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ImageError("more than 16 bits per channel; convert it to 8 or 16")
    grey = (values >> 8).astype(np.uint8)
    if "transparency" in image.info:
        grey[values == image.info["transparency"]] = 255
    return Image.fromarray(grey)


def _read_orientation(image: Image.Image) -> _Orientation:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
    except (OSError, SyntaxError, ValueError, struct.error):
        return _UPRIGHT  # an image with damaged EXIF data is still usable
    return _ORIENTATIONS.get(value, _UPRIGHT) if isinstance(value, int) else _UPRIGHT
