"""The image formats that are read: all raster formats of Pillow, and HEIC / HEIF with pillow-heif.

A format is recognised by the signature at the start of a file. Formats that have none are recognised by the suffix of
the name. Vector graphics, films and containers are refused by name, and so are cameras' raw files: Pillow would read
the small preview inside them.
"""

from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from lrcr.errors import ImageError

SIGNED = (
    *(
        "JPEG",
        "PNG",
        "WEBP",
        "BMP",
        "TIFF",
        "GIF",
        "AVIF",
        "JPEG2000",
        "PPM",
        "PSD",
        "QOI",
        "DIB",
        "ICO",
        "ICNS",
        "CUR",
    ),
    *("DDS", "PCX", "DCX", "SGI", "SUN", "XBM", "XPM", "FITS", "FLI", "MSP", "PIXAR", "BLP", "FTEX", "GBR", "MCIDAS"),
    "XVTHUMB",
)
"""Formats that have a signature, the frequent ones first: Pillow imports the others only if a file is none of these."""

_UNSIGNED = {
    **dict.fromkeys((".tga", ".icb", ".vda", ".vst"), "TGA"),
    **{".im": "IM", ".imt": "IMT", ".iim": "IPTC", ".pcd": "PCD", ".spi": "SPIDER", ".spider": "SPIDER"},
}
_RAW = frozenset((".3fr", ".arw", ".cr2", ".cr3", ".dng", ".nef", ".nrw", ".orf", ".pef", ".raf", ".rw2", ".srw"))
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_OTHER_SUFFIXES = frozenset((".heic", ".heif", ".hif", ".jxl", *_RAW, *_UNSIGNED))


class UnknownFormatError(ImageError):
    """A file in none of the known image formats (a damaged image raises a plain `ImageError`)."""


def is_image_suffix(suffix: str) -> bool:
    """Whether files with this suffix, in lower case, are images: one that cannot be read is refused, not skipped."""
    return suffix in _OTHER_SUFFIXES or Image.registered_extensions().get(suffix) in (*SIGNED, "MPO")


def open_image(file: BinaryIO, suffix: str) -> Image.Image:
    """Open an image of a format that is read; its pixels are not decoded yet.

    Args:
        suffix: of the name of the file, in lower case.

    Raises:
        UnknownFormatError: the file is empty, or of an unknown format.
        ImageError: the file is of a known format that is not read.
        OSError, ValueError: the file is damaged.
    """
    start = file.read(32)
    if not start:
        raise UnknownFormatError("an empty file (0 bytes); copy it again")
    file.seek(0)
    if suffix in _RAW:
        raise ImageError(f"a camera's raw file ({suffix}) is not read; export it as JPEG or TIFF")
    try:
        return Image.open(file, formats=_formats_of(start, suffix))
    except UnidentifiedImageError:
        if name := _name_unread(start):
            raise ImageError(f"{name} is not read; convert it to JPEG or PNG") from None
        known = ", ".join(SIGNED[:8])
        raise UnknownFormatError(f"not an image of a known format; convert it to one of {known}") from None


def _formats_of(start: bytes, suffix: str) -> tuple[str, ...]:
    if start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS and b"avif" not in start:
        _register_heif()
        return ("HEIF",)
    return (*SIGNED, _UNSIGNED[suffix]) if suffix in _UNSIGNED else SIGNED


def _register_heif() -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        raise ImageError("HEIC / HEIF needs pillow-heif; install lrcr[heif], or convert it to JPEG") from None
    register_heif_opener()


def _name_unread(start: bytes) -> str | None:
    """The name of a known format that is not read, by its signature."""
    if start.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")):
        return "JPEG XL"
    unread = {name: accept for name, (_, accept) in Image.OPEN.items() if name not in SIGNED and accept}
    return next((name for name, accept in unread.items() if accept(start)), None)
