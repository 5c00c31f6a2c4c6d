"""Which image files are read: every raster format of Pillow, by its signature or its name; the others by name."""

import re
import struct

import numpy as np
import pytest
from PIL import Image, features

from lrcr.data.formats import SIGNED, UnknownFormatError, is_image_suffix
from lrcr.data.images import load_image
from lrcr.errors import ImageError

UNREAD = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
UNSIGNED = {"IM", "IMT", "IPTC", "PCD", "SPIDER", "TGA"}


def ramp(mode: str = "RGB") -> Image.Image:
    y, x = np.mgrid[:48, :64]
    return Image.fromarray(np.stack([4 * x, 5 * y, x + y], axis=-1).astype(np.uint8)).convert(mode)


def test_every_format_of_pillow_is_read_or_refused():
    Image.init()
    assert set(SIGNED) | UNSIGNED | UNREAD == set(Image.OPEN) - {"HEIF"}
    assert {name for name, (_, accept) in Image.OPEN.items() if accept is None} == UNSIGNED


@pytest.mark.parametrize(
    ("name", "mode", "tolerance"),
    [
        *((name, "RGB", 0) for name in ("DIB", "PPM", "PCX", "SGI", "TGA", "IM", "DDS", "ICNS", "ICO", "QOI")),
        *((name, "1", 0) for name in ("MSP", "XBM")),
        ("SPIDER", "F", 1),
        ("AVIF", "RGB", 12),
        ("JPEG2000", "RGB", 0),
        ("BLP", "P", 0),
    ],
)
def test_the_formats_that_pillow_can_write_are_read(tmp_path, name, mode, tolerance):
    if name == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    image = ramp(mode)
    Image.init()
    suffix = {"SPIDER": ".spi", "JPEG2000": ".jp2"}.get(name) or f".{name.lower()}"
    options = {"sizes": [(64, 48)]} if name == "ICO" else {}
    if name == "ICNS":
        image = image.resize((64, 64))
    file = tmp_path / f"image{suffix}"
    image.save(file, format=name, **options)
    found = np.asarray(load_image(file, orient=True).pixels, np.int16)
    if name == "ICNS":
        image = Image.open(file).convert("RGB")
    if name == "SPIDER":
        grey = np.asarray(image)
        image = Image.fromarray(np.round((grey - grey.min()) * 255 / (grey.max() - grey.min())).astype(np.uint8))
    expected = np.asarray(image.convert("RGB"), np.int16)
    assert found.shape == expected.shape and np.abs(found - expected).max() <= tolerance
    if suffix not in (".spi", ".tga", ".im"):
        file = file.rename(tmp_path / "no-suffix")
        assert np.array_equal(np.asarray(load_image(file, orient=True).pixels, np.int16), found)


@pytest.mark.parametrize(
    ("name", "contents", "what"),
    [
        ("a.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", "EPS"),
        ("a", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", "EPS"),
        ("a.wmf", b"\xd7\xcd\xc6\x9a\x00\x00" + bytes(60), "WMF"),
        ("a.jxl", b"\xff\x0a" + bytes(60), "JPEG XL"),
        ("a.jpg", b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(60), "JPEG XL"),
    ],
)
def test_formats_that_are_not_read_are_refused_by_name(tmp_path, name, contents, what):
    """Among them those for which Pillow runs other programs."""
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(ImageError, match=rf"{name}: {what} is not read; convert it to JPEG or PNG$") as refused:
        load_image(tmp_path / name, orient=True)
    assert not isinstance(refused.value, UnknownFormatError), "a file of the folder that is not an image is skipped"


def test_the_preview_of_a_raw_file_is_not_taken_for_the_photo(tmp_path):
    ramp().save(tmp_path / "a.tif")
    (tmp_path / "a.tif").rename(tmp_path / "a.DNG")
    with pytest.raises(
        ImageError, match=re.escape("a camera's raw file (.dng) is not read; export it as JPEG or TIFF")
    ):
        load_image(tmp_path / "a.DNG", orient=True)


def test_a_file_without_signature_is_an_image_only_by_its_name(tmp_path):
    ramp().save(tmp_path / "a.tga")
    (tmp_path / "a.tga").rename(tmp_path / "a.dat")
    with pytest.raises(UnknownFormatError, match="not an image of a known format"):
        load_image(tmp_path / "a.dat", orient=True)


@pytest.mark.parametrize("suffix", [".jpg", ".avif", ".jp2", ".j2k", ".heic", ".hif", ".jxl", ".nef", ".psd", ".mpo"])
def test_suffixes_of_images(suffix):
    assert is_image_suffix(suffix)


@pytest.mark.parametrize("suffix", ["", ".txt", ".json", ".pdf", ".h5", ".mpg", ".svg"])
def test_suffixes_of_other_files(suffix):
    assert not is_image_suffix(suffix)


HEIC = struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic"


def test_heic_names_the_extra_that_reads_it(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    (tmp_path / "a.jpg").write_bytes(HEIC)
    message = r"a\.jpg: HEIC / HEIF needs pillow-heif; install lrcr\[heif\], or convert it to JPEG$"
    with pytest.raises(ImageError, match=message):
        load_image(tmp_path / "a.jpg", orient=True)


def test_heic_is_read_with_the_extra(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed: pip install lrcr[heif]")
    pillow_heif.register_heif_opener()
    ramp().save(tmp_path / "a.heic", quality=95)
    found = load_image(tmp_path / "a.heic", orient=True).pixels
    assert found.size == (64, 48)
    assert np.abs(np.asarray(found, np.int16) - np.asarray(ramp(), np.int16)).mean() < 3
