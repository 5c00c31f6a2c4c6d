"""JPEGs that are decoded at reduced size: when, and that sizes and positions stay those of the full image."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lrcr.data.images import LoadedImage, load_image, resize
from lrcr.errors import ImageError


def ramps(width: int, height: int) -> Image.Image:
    """Red grows from left to right, green from top to bottom: a colour tells a position."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    pixels = np.stack([255 * x / max(width - 1, 1), 255 * y / max(height - 1, 1), np.full_like(x, 128)], axis=-1)
    return Image.fromarray(pixels.round().astype(np.uint8))


def save(path: Path, width: int, height: int, orientation: int = 1, **options) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    ramps(width, height).save(path, exif=exif, **{"quality": 95, "subsampling": 0, **options})
    return path


@pytest.mark.parametrize(
    ("size", "image_size", "decoded"),
    [
        ((640, 401), 161, (640, 401)),
        ((640, 401), 160, (320, 201)),
        ((401, 640), 160, (201, 320)),
        ((639, 400), 160, (639, 400)),
        ((640, 400), 81, (320, 200)),
        ((640, 401), 80, (160, 101)),
        ((641, 402), 40, (81, 51)),
        ((640, 400), 1, (80, 50)),
        ((640, 3), 40, (320, 2)),
        ((640, 1), 40, (640, 1)),
        ((640, 640), 160, (320, 320)),
        ((640, 400), 1024, (640, 400)),
    ],
)
@pytest.mark.parametrize("suffix", ["jpg", "mpo"])
def test_the_reduced_image_is_at_least_twice_as_long_as_is_asked_for(tmp_path, size, image_size, decoded, suffix):
    path = save(tmp_path / f"image.{suffix}", *size)
    loaded = load_image(path, orient=True, image_size=image_size)
    assert (loaded.pixels.size, loaded.size, loaded.full_size) == (decoded, size, size)


def test_crops_other_formats_and_pictures_are_decoded_in_full(tmp_path):
    path = save(tmp_path / "image.jpg", 640, 400)
    assert load_image(path, orient=True).pixels.size == (640, 400)
    whole = np.asarray(load_image(path, orient=True).pixels)
    crop = load_image(path, orient=True, box=(8, 16, 600, 400), image_size=40)
    assert np.array_equal(crop.pixels, whole[16:400, 8:600])
    assert (crop.size, crop.origin, crop.full_size) == ((592, 384), (8, 16), (640, 400))
    for suffix in ("png", "webp", "tif"):
        ramps(640, 400).save(tmp_path / f"image.{suffix}")
        assert load_image(tmp_path / f"image.{suffix}", orient=True, image_size=40).pixels.size == (640, 400)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(97, 65), (65, 97), (599, 397), (127, 127), (333, 117)])
def test_positions_are_those_of_the_full_image(tmp_path, size, orientation):
    """Where the reduced size is rounded up, up to seven eighths of its last column and row are outside the image."""
    path = save(tmp_path / "image.jpg", *size, orientation)
    for orient, image_size in product((True, False), (8, 12, 60)):
        full = load_image(path, orient=orient)
        reduced = load_image(path, orient=orient, image_size=image_size)
        assert (reduced.size, reduced.full_size, reduced.origin) == (full.size, full.full_size, (0, 0))
        expected, found = resize(full, image_size), resize(reduced, image_size)
        assert found.size == expected.size
        assert abs(np.asarray(found).astype(int) - np.asarray(expected)).max() <= 3


def test_a_reduced_image_covers_its_window_only(tmp_path):
    """101 × 69 pixels are 12 5⁄8 × 8 5⁄8 when reduced by 8, stored in 13 × 9."""
    for orientation, window in {
        1: (0, 0, 12.625, 8.625),
        3: (0.375, 0.375, 13, 9),
        6: (0.375, 0, 9, 12.625),
        8: (0, 0.375, 8.625, 13),
    }.items():
        path = save(tmp_path / "image.jpg", 101, 69, orientation)
        assert load_image(path, orient=True, image_size=4).window == window
        assert load_image(path, orient=False, image_size=4).window == (0, 0, 12.625, 8.625)


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 2}, {"subsampling": 1, "optimize": True}])
def test_every_kind_of_jpeg_is_reduced(tmp_path, options):
    path = save(tmp_path / "image.jpg", 643, 401, **options)
    found, expected = (resize(load_image(path, orient=True, image_size=size), 40) for size in (40, None))
    assert load_image(path, orient=True, image_size=40).pixels.size == (81, 51)
    assert abs(np.asarray(found).astype(int) - np.asarray(expected)).max() <= 4


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_jpegs_are_reduced(tmp_path, mode):
    ramps(640, 400).convert(mode).save(tmp_path / "image.jpg", quality=95)
    found, expected = (load_image(tmp_path / "image.jpg", orient=True, image_size=size) for size in (40, None))
    assert (found.pixels.mode, found.pixels.size) == ("RGB", (80, 50))
    difference = np.asarray(resize(found, 40)).astype(int) - np.asarray(resize(expected, 40))
    assert abs(difference).max() <= 4


def test_errors_are_those_of_a_full_image(tmp_path, monkeypatch):
    path = save(tmp_path / "image.jpg", 640, 400)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match=r"image\.jpg: cannot be read \(image file is truncated.*\); copy or export"):
        load_image(path, orient=True, image_size=40)
    path.write_bytes(data)
    monkeypatch.setenv("LRCR_MAX_MEGAPIXELS", str((640 * 400 - 1) / 1e6))
    with pytest.raises(ImageError, match=r"beyond the limit of .* million pixels: 640 × 400 pixels; make it smaller"):
        load_image(path, orient=True, image_size=40)


@pytest.mark.parametrize("image_size", [320, 512, 1024])
def test_photos_of_1024_pixels_do_not_change(test_data, image_size):
    photos = sorted((test_data / "photos/images").rglob("*.jpg"))
    for path in photos[::40]:
        full, asked = (load_image(path, orient=True, image_size=size) for size in (None, image_size))
        assert max(full.full_size) <= 1024
        assert np.array_equal(resize(full, image_size), resize(asked, image_size))


def test_a_real_photo_hardly_changes(test_data):
    for path in sorted((test_data / "photos/images").rglob("*.jpg"))[::40]:
        full, reduced = (load_image(path, orient=True, image_size=size) for size in (None, 80))
        assert max(reduced.pixels.size) < max(full.pixels.size)
        difference = abs(np.asarray(resize(full, 80)).astype(int) - np.asarray(resize(reduced, 80)))
        assert difference.mean() < 1 and difference.max() < 16


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 200))
def test_the_size_is_that_of_pillows_thumbnail(width, height, image_size):
    thumbnail = Image.new("L", (width, height))
    found = resize(LoadedImage(thumbnail, thumbnail.size), image_size)
    thumbnail.thumbnail((image_size, image_size))
    assert found.size == thumbnail.size


@pytest.mark.parametrize("image_size", [10, 30, 100, 200])
def test_the_pixels_are_those_of_pillows_thumbnail(image_size):
    thumbnail = Image.fromarray(np.random.default_rng(0).integers(0, 256, (91, 200, 3), np.uint8))
    found = resize(LoadedImage(thumbnail, thumbnail.size), image_size)
    thumbnail.thumbnail((image_size, image_size), Image.Resampling.LANCZOS)
    assert np.array_equal(found, thumbnail)
