"""From an image file to pixels in 8-bit RGB, as stored: not cropped, not oriented. The formats: `lrcr.data.formats`.

- of several frames the first is read;
- alpha, palettes with transparency and transparent colours are composited on white;
- grey, 1-bit, palette and CMYK / YCCK images are converted by Pillow; colour profiles are not applied;
- of 16 bits per channel the low byte is dropped, but 16-bit grey without a value above 4095 (12 bits in use) and
  floating-point grey are stretched: their least value becomes black, their largest white; the first is told;
- more than 16 bits per channel are refused;
- damaged files are refused; a JPEG that lacks its last bytes is decoded as far as it goes if that is asked for;
- images of more than `$LRCR_MAX_MEGAPIXELS` (default 400) million pixels are refused. Pillow's own limit, which is
  lower, is set to this one in the whole process.

Where only an image of `image_size` is needed, a large JPEG is decoded at ½, ¼ or ⅛ of its size (DCT scaling): if that
leaves its longest side at least twice as long as `image_size`.
"""

import io
import logging
import os
import struct
import threading
import warnings
from contextlib import nullcontext
from pathlib import PurePath
from typing import Any, BinaryIO, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from lrcr.data.formats import open_image
from lrcr.errors import ImageError, OutOfMemoryError, ParamsError

_log = logging.getLogger(__name__)
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # beyond the limit there is an error anyway

_DEFAULT_MEGAPIXELS = "400"
_LARGE = 50_000_000  # pixels; of larger images one at a time is decoded: a conversion takes up to 15 bytes a pixel
_one_large = threading.Lock()
_told = threading.Event()
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_END_OF_JPEG = b"\xff\xd9"


class ImageFile(Protocol):
    """A file to read an image from: a `Path`, or a file inside an archive. `str` of it is its name in messages."""

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """A stream of the bytes of the file."""
        ...


class Decoded(NamedTuple):
    """An image as stored.

    Args:
        pixels: 8-bit RGB.
        size: width and height of the full image.
        window: the part of `pixels` that the full image covers if they may be reduced (see `LoadedImage`), else None.
        orientation: value of the EXIF tag, 1–8; 1 is upright.
        truncated: whether the file is a JPEG that lacks its last bytes.
    """

    pixels: Image.Image
    size: tuple[int, int]
    window: tuple[float, float, float, float] | None
    orientation: int
    truncated: bool = False

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height of the full image as a viewer shows it, with EXIF orientation."""
        return (self.size[1], self.size[0]) if self.orientation >= 5 else self.size


def decode(path: ImageFile, image_size: int | None = None, *, tolerate_truncated: bool = False) -> Decoded:
    """Decode an image file by the rules of this module.

    Args:
        image_size: an image of this longest side is needed; None: the full image.
        tolerate_truncated: whether a JPEG that lacks its last bytes is decoded; what is missing is grey.

    Raises:
        UnknownFormatError: the file is not an image of a known format.
        ImageError: it cannot be opened or decoded for another reason.
        OutOfMemoryError: the memory does not suffice.
        ParamsError: `$LRCR_MAX_MEGAPIXELS` is not a number above 0.
    """
    try:
        with path.open("rb") as file:
            return _decode_any(file, path, image_size, tolerate_truncated)
    except ImageError as error:
        raise type(error)(f"{path}: {error}") from None
    except ParamsError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(f"{path}: {_beyond_limit()}") from None
    except OSError as error:
        raise ImageError(f"{path}: cannot be read ({_reason(error)}); copy or export it again") from None
    except MemoryError:
        remedy = "free some memory, or set LRCR_MAX_MEGAPIXELS to refuse large photos"
        raise OutOfMemoryError(f"{path}: out of memory while it was decoded; {remedy}") from None
    except Exception as error:  # the decoders raise many types of errors on damaged files
        raise ImageError(f"{path}: damaged ({_reason(error)}); copy or export it again") from None


def _decode_any(file: BinaryIO, path: ImageFile, image_size: int | None, tolerate_truncated: bool) -> Decoded:
    """Decode an image; what Pillow refuses although it can be decoded is decoded from a changed copy of the file."""
    try:
        return _decode(file, path, image_size)
    except ValueError as error:
        if "MAX_TEXT" not in str(error):
            raise
        return _decode(_remove_texts(file), path, image_size)
    except OSError as error:
        file.seek(0)
        if "image file is truncated" not in str(error) or file.read(2) != b"\xff\xd8":
            raise
        if not tolerate_truncated:
            raise
        file.seek(0)
        completed = io.BytesIO(file.read() + _END_OF_JPEG)
        return _decode(completed, path, image_size)._replace(truncated=True)


def _decode(file: BinaryIO, path: ImageFile, image_size: int | None) -> Decoded:
    limit = Image.MAX_IMAGE_PIXELS = _largest()
    with open_image(file, PurePath(str(path)).suffix.lower()) as image:
        pixels = image.width * image.height
        if pixels > limit:
            raise ImageError(_beyond_limit(f": {image.width} × {image.height} pixels"))
        full_size, window = image.size, None if image_size is None else _reduce(image, image_size)
        with _one_large if image.width * image.height > _LARGE else nullcontext():
            image.load()
            rgb = _to_rgb(image, path)
        return Decoded(rgb, full_size if window else rgb.size, window, _read_orientation(image))


def _largest() -> int:
    """The most pixels of an image, from `$LRCR_MAX_MEGAPIXELS`."""
    given = os.environ.get("LRCR_MAX_MEGAPIXELS") or _DEFAULT_MEGAPIXELS
    try:
        limit = int(float(given) * 1e6)
    except (ValueError, OverflowError):
        limit = 0
    if limit < 1:
        raise ParamsError(f"LRCR_MAX_MEGAPIXELS: {given!r} is not a number of millions of pixels; give more than 0")
    return limit


def _beyond_limit(size: str = "") -> str:
    limit = f"{_largest() / 1e6:g} million pixels"
    return f"beyond the limit of {limit}{size}; make it smaller, or set LRCR_MAX_MEGAPIXELS"


def _reduce(image: Image.Image, image_size: int) -> tuple[float, float, float, float] | None:
    """Let a JPEG be decoded at reduced size by the rule of this module; see `LoadedImage` for the window returned."""
    # Pillow takes the largest factor of 1, 2, 4 and 8 that leaves no side shorter than is asked for.
    least = (2 * image_size, 1) if image.width >= image.height else (1, 2 * image_size)
    drafted = image.draft(None, least)
    return drafted[1] if drafted else None


def _remove_texts(file: BinaryIO) -> BinaryIO:
    """A PNG file without its texts and colour profile: Pillow limits their size, and they are not needed."""
    file.seek(0)
    parts = [file.read(8)]
    while len(head := file.read(8)) == 8:
        body = file.read(int.from_bytes(head[:4], "big") + 4)
        if head[4:] not in _TEXTS:
            parts += head, body
    return io.BytesIO(b"".join(parts))


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def _to_rgb(image: Image.Image, path: ImageFile) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _grey_of_16_bits(image, path).convert("RGB")
    if image.mode == "F":
        return _stretch(np.asarray(image), path, "floating-point pixels").convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _grey_of_16_bits(image: Image.Image, path: ImageFile) -> Image.Image:
    """Convert 16-bit grey to 8-bit grey; Pillow's own conversion would clip all values above 255."""
    values, key = np.asarray(image), image.info.get("transparency")
    least, largest = values.min(), values.max()
    if least < 0 or largest > 0xFFFF:
        raise ImageError("more than 16 bits per channel; convert it to 8 or 16")
    if least < largest <= 0x0FFF:
        opaque = values if key is None else np.where(values == key, np.nan, values)
        return _stretch(opaque, path, f"16-bit pixels without a value above {largest}", missing=255)
    grey = (values >> 8).astype(np.uint8)
    if key is not None:
        grey[values == key] = 255
    return Image.fromarray(grey)


def _stretch(values: npt.NDArray[Any], path: ImageFile, what: str, missing: int = 0) -> Image.Image:
    """Grey from black at the least value to white at the largest; `missing` where a value is not finite."""
    values = values.astype(np.float32)
    finite = np.isfinite(values)
    if not finite.any():
        raise ImageError("no pixel has a finite value; export it again")
    least = values.min(where=finite, initial=np.inf)
    span = values.max(where=finite, initial=-np.inf) - least
    if not _told.is_set():
        _told.set()
        _log.warning("%s: %s; such images are stretched to the range of their own values (told once)", path, what)
    with np.errstate(invalid="ignore"):
        scaled = np.round((values - least) * (255 / span if span > 0 else 0))
    return Image.fromarray(np.where(finite, scaled, missing).astype(np.uint8))


def _read_orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
    except (OSError, SyntaxError, ValueError, struct.error):
        return 1  # an image with damaged EXIF data is still usable
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
