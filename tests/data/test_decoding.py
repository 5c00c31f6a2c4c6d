"""Photos as they are: very large, with texts and profiles, with few bits, with floats, or without their last bytes."""

import logging
import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from lrcr.data import decoding
from lrcr.data.decoding import decode
from lrcr.data.images import load_image
from lrcr.errors import ImageError, OutOfMemoryError, ParamsError

LARGE_PHOTOS = """
import sys
from pathlib import Path
from PIL import Image
from lrcr.datasets.photos import read_photos
folder = Path(sys.argv[1])
Image.new("L", (16320, 12240), 90).save(folder / "0.jpg", quality=30)
for number in range(1, 4):
    (folder / f"{number}.jpg").hardlink_to(folder / "0.jpg")
Path("/proc/self/clear_refs").write_text("5")  # the peak of memory starts here
photos = read_photos(folder)
print(*((image.width, image.height) for image in photos.accepted.values()))
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(
    not os.access("/proc/self/clear_refs", os.W_OK), reason="this machine does not tell peaks of memory"
)
def test_photos_of_200_megapixels_are_read_in_little_memory_and_without_a_warning(tmp_path):
    command = [sys.executable, "-W", "always", "-c", LARGE_PHOTOS, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    sizes, peak = done.stdout.splitlines()
    assert sizes == " ".join(["(16320, 12240)"] * 4)
    assert int(peak) < 400_000, "KiB; one such photo has 600 MB"
    assert "Warning" not in done.stderr


def test_large_photos_are_decoded_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "_LARGE", 100)
    Image.new("RGB", (11, 10)).save(tmp_path / "large.png")
    Image.new("RGB", (10, 10)).save(tmp_path / "small.png")
    held = []
    convert = decoding._to_rgb

    def note(*args):
        held.append(decoding._one_large.locked())
        return convert(*args)

    monkeypatch.setattr(decoding, "_to_rgb", note)
    decode(tmp_path / "large.png"), decode(tmp_path / "small.png")
    assert held == [True, False]


def test_a_photo_for_which_there_is_no_memory_is_not_damaged(tmp_path, monkeypatch):
    def fail(*_):
        raise MemoryError

    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    monkeypatch.setattr(decoding, "_decode", fail)
    with pytest.raises(OutOfMemoryError, match=r"a\.png: out of memory while it was decoded; free some memory"):
        decoding.decode(tmp_path / "a.png")


def test_the_limit_of_pixels_is_a_setting(tmp_path, monkeypatch):
    Image.new("RGB", (64, 64)).save(tmp_path / "image.png")
    for given, limit in (("0.004", "0.004"), ("0.001", "0.001")):  # beyond Pillow's warning, and beyond its error
        monkeypatch.setenv("LRCR_MAX_MEGAPIXELS", given)
        with pytest.raises(
            ImageError, match=rf"image\.png: beyond the limit of {limit} million pixels.*; make it smaller"
        ):
            decode(tmp_path / "image.png")
    monkeypatch.setenv("LRCR_MAX_MEGAPIXELS", "0.0041")
    assert decode(tmp_path / "image.png").size == (64, 64)


@pytest.mark.parametrize("given", ["none", "0", "-3", "nan", "inf"])
def test_a_limit_that_is_none_is_refused(tmp_path, monkeypatch, given):
    Image.new("RGB", (4, 4)).save(tmp_path / "image.png")
    monkeypatch.setenv("LRCR_MAX_MEGAPIXELS", given)
    with pytest.raises(
        ParamsError, match=f"LRCR_MAX_MEGAPIXELS: '{given}' is not a number of millions of pixels; give"
    ):
        decode(tmp_path / "image.png")


@pytest.fixture
def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))


@pytest.mark.parametrize("compressed", [False, True])
def test_a_png_with_megabytes_of_text_is_read(tmp_path, noise, compressed):
    texts = PngImagePlugin.PngInfo()
    for number in range(70):
        texts.add_text(f"text {number}", "x" * 1_000_000, zip=compressed)
    if compressed:
        texts.add_text("long", "x" * 3_000_000, zip=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    noise.save(tmp_path / "image.png", pnginfo=texts, exif=exif)
    with pytest.raises(ValueError, match="MAX_TEXT"), Image.open(tmp_path / "image.png") as image:
        image.load()
    loaded = load_image(tmp_path / "image.png", orient=True)
    assert np.array_equal(loaded.pixels, noise.transpose(Image.Transpose.ROTATE_270))


def test_a_png_with_a_large_colour_profile_is_read(tmp_path, noise):
    noise.save(tmp_path / "image.png", icc_profile=bytes(3_000_000))
    assert np.array_equal(load_image(tmp_path / "image.png", orient=False).pixels, noise)


def test_a_png_with_large_texts_that_is_damaged_is_refused(tmp_path, noise):
    noise.save(tmp_path / "image.png", icc_profile=bytes(3_000_000))
    data = (tmp_path / "image.png").read_bytes()
    (tmp_path / "image.png").write_bytes(data[: len(data) - 3000])
    with pytest.raises(ImageError, match=r"image\.png: cannot be read \(image file is truncated"):
        decode(tmp_path / "image.png")
    broken = bytearray(data)
    broken[data.index(b"IDAT") + 6] ^= 0xFF
    (tmp_path / "image.png").write_bytes(broken)
    with pytest.raises(ImageError, match=r"image\.png: .*copy or export it again$"):
        decode(tmp_path / "image.png")


@pytest.fixture
def untold(monkeypatch) -> None:
    monkeypatch.setattr(decoding, "_told", decoding.threading.Event())


def grey(path):
    pixels = np.asarray(decode(path).pixels)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


@pytest.mark.usefixtures("untold")
def test_16_bit_grey_that_holds_12_bits_is_stretched_and_told_once(tmp_path, caplog):
    values = np.linspace(96, 4095, 60, dtype=np.uint16).reshape(6, 10)
    for name in ("a.png", "b.png", "c.tif"):
        Image.fromarray(values).save(tmp_path / name)
        expected = np.round((values - 96.0) * 255 / (4095 - 96)).astype(np.uint8)
        assert np.abs(grey(tmp_path / name).astype(int) - expected).max() <= 1
        assert (grey(tmp_path / name).min(), grey(tmp_path / name).max()) == (0, 255)
    [record] = caplog.records
    assert (record.levelno, record.getMessage()) == (
        logging.WARNING,
        f"{tmp_path / 'a.png'}: 16-bit pixels without a value above 4095; such images are stretched to the range of "
        "their own values (told once)",
    )
    values[0, 0] = 4096
    Image.fromarray(values).save(tmp_path / "a.png")
    assert np.array_equal(grey(tmp_path / "a.png"), values >> 8)


@pytest.mark.parametrize("value", [0, 7, 0x0FFF])
def test_16_bit_grey_of_one_value_has_no_range(tmp_path, value, caplog):
    Image.new("I;16", (3, 2), value).save(tmp_path / "a.png")
    assert (grey(tmp_path / "a.png") == value >> 8).all()
    assert not caplog.records


@pytest.mark.usefixtures("untold")
@pytest.mark.parametrize(("least", "largest"), [(0, 1), (-3, 5), (1e-6, 2e-6), (0, 3e38)])
def test_floating_point_tiff_is_stretched_and_told(tmp_path, caplog, least, largest):
    values = np.linspace(least, largest, 60, dtype=np.float32).reshape(6, 10)
    Image.fromarray(values).save(tmp_path / "a.tif")
    expected = np.linspace(0, 255, 60).reshape(6, 10)
    assert np.abs(grey(tmp_path / "a.tif") - expected).max() <= 0.51
    [record] = caplog.records
    assert record.getMessage().startswith(f"{tmp_path / 'a.tif'}: floating-point pixels; such images are stretched")


def test_floating_point_values_that_are_not_finite_are_black(tmp_path):
    Image.fromarray(np.array([[np.nan, 1, 2, np.inf]], np.float32)).save(tmp_path / "a.tif")
    assert grey(tmp_path / "a.tif").tolist() == [[0, 0, 255, 0]]
    Image.fromarray(np.full((2, 2), np.nan, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match=r"a\.tif: no pixel has a finite value; export it again"):
        decode(tmp_path / "a.tif")


def test_a_jpeg_without_its_last_bytes_is_decoded_as_far_as_it_goes_if_asked_for(tmp_path, noise):
    path = tmp_path / "image.jpg"
    noise.resize((600, 400)).save(path, quality=90)
    whole = np.asarray(decode(path).pixels, np.int16)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with pytest.raises(ImageError, match=r"image\.jpg: cannot be read \(image file is truncated.*; copy or export it"):
        decode(path)
    found = decode(path, tolerate_truncated=True)
    assert found.truncated and found.size == (600, 400)
    pixels = np.asarray(found.pixels, np.int16)
    assert np.array_equal(pixels[:280], whole[:280])
    assert pixels[-8:].std() < 1 < whole[-8:].std()
    reduced = decode(path, 60, tolerate_truncated=True)
    assert reduced.pixels.size == (150, 100) and reduced.truncated


def test_other_damaged_files_are_never_tolerated(tmp_path, noise):
    noise.save(tmp_path / "image.png")
    (tmp_path / "image.png").write_bytes((tmp_path / "image.png").read_bytes()[:3000])
    noise.save(tmp_path / "head.jpg")
    (tmp_path / "head.jpg").write_bytes((tmp_path / "head.jpg").read_bytes()[:200])
    for name in ("image.png", "head.jpg"):
        with pytest.raises(ImageError):
            decode(tmp_path / name, tolerate_truncated=True)


def test_a_whole_jpeg_is_not_called_truncated(tmp_path, noise):
    noise.save(tmp_path / "image.jpg")
    assert not decode(tmp_path / "image.jpg", tolerate_truncated=True).truncated


def test_reading_texts_needs_little_memory(tmp_path, noise):
    """A text that grows a thousandfold when it is decompressed is left out before that."""
    texts = PngImagePlugin.PngInfo()
    texts.add(b"zTXt", b"bomb\0\0" + zlib.compress(bytes(50_000_000)))
    noise.save(tmp_path / "image.png", pnginfo=texts)
    assert np.array_equal(decode(tmp_path / "image.png").pixels, noise)
