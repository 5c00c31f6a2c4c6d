import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torchvision.transforms import functional

from lrcr.data.formats import UnknownFormatError
from lrcr.data.images import MEAN, STD, LoadedImage, load_image, prepare, resize, round_box
from lrcr.errors import ImageError

# The colours of four quadrants, clockwise from the upper left.
RED, GREEN, BLUE, YELLOW = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)


def pixel(path: Path, xy=(0, 0)):
    loaded = load_image(path, orient=False)
    assert loaded.pixels.mode == "RGB"
    return loaded.pixels.getpixel(xy)


def png16(path: Path, samples: np.ndarray, colour_type: int, transparent: int | None = None) -> Path:
    """Write 16-bit samples of shape (H, W, channels) as PNG by hand: Pillow writes no 16-bit RGB."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
    key = b"" if transparent is None else chunk(b"tRNS", struct.pack(">H", transparent))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + key + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    return path


def quadrants(width: int, height: int) -> Image.Image:
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (width // 2, height // 2, width, height))
    image.paste(YELLOW, (0, height // 2, width // 2, height))
    return image


@pytest.mark.parametrize(
    ("mode", "value", "expected"),
    [
        ("RGB", (10, 20, 30), (10, 20, 30)),
        ("RGBA", (200, 100, 0, 0), (255, 255, 255)),
        ("RGBA", (200, 100, 0, 51), (244, 224, 204)),
        ("LA", (0, 0), (255, 255, 255)),
        ("LA", (70, 255), (70, 70, 70)),
        ("L", 70, (70, 70, 70)),
        ("1", 1, (255, 255, 255)),
        ("I;16", 0x1234, (0x12, 0x12, 0x12)),
        ("I;16", 0xFFFF, (255, 255, 255)),
    ],
)
def test_every_mode_becomes_rgb(tmp_path, mode, value, expected):
    path = tmp_path / "image.png"
    Image.new(mode, (4, 3), value).save(path)
    assert pixel(path) == expected


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif", "gif", "mpo"])
def test_every_format_is_recognised_by_its_content(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    quadrants(32, 32).save(path)
    path = path.rename(tmp_path / "no-suffix")
    tolerance = 8 if suffix in ("jpg", "webp", "mpo") else 0
    for xy, colour in (((4, 4), RED), ((28, 4), GREEN), ((28, 28), BLUE), ((4, 28), YELLOW)):
        assert np.allclose(pixel(path, xy), colour, rtol=0, atol=tolerance)


def test_palette_with_transparency_is_composited_on_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([9, 8, 7, 200, 0, 0])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "opaque.png")
    image.save(tmp_path / "hole.png", transparency=1)
    assert [pixel(tmp_path / "opaque.png", (x, 0)) for x in (0, 1)] == [(9, 8, 7), (200, 0, 0)]
    assert [pixel(tmp_path / "hole.png", (x, 0)) for x in (0, 1)] == [(9, 8, 7), (255, 255, 255)]


def test_cmyk_jpeg_is_not_inverted(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "red.jpg")
    assert np.allclose(pixel(tmp_path / "red.jpg"), RED, atol=4)


def test_16_bit_png_drops_the_low_byte(tmp_path):
    grey = np.array([[[0x00FF], [0x1234], [0xFFFF]]])
    path = png16(tmp_path / "grey.png", grey, colour_type=0)
    assert [pixel(path, (x, 0))[0] for x in range(3)] == [0x00, 0x12, 0xFF]
    path = png16(tmp_path / "keyed.png", grey, colour_type=0, transparent=0x1234)
    assert [pixel(path, (x, 0))[0] for x in range(3)] == [0x00, 0xFF, 0xFF]
    path = png16(tmp_path / "rgb.png", np.array([[[0x00FF, 0x1234, 0xFFFF]]]), colour_type=2)
    assert pixel(path) == (0x00, 0x12, 0xFF)


def test_32_bit_pixels_are_read_as_16_bits_or_refused(tmp_path):
    path = tmp_path / "image.tif"
    Image.fromarray(np.array([[0xFFFF, 0x1234]], np.int32)).save(path)
    assert [pixel(path, (x, 0))[0] for x in range(2)] == [0xFF, 0x12]
    for value in (-1, 0x10000):
        Image.fromarray(np.array([[0, value]], np.int32)).save(path)
        with pytest.raises(ImageError, match="more than 16 bits per channel; convert it to 8 or 16"):
            load_image(path, orient=False)


def test_the_first_frame_of_an_animation_is_read(tmp_path):
    frames = [Image.new("RGB", (4, 4), colour) for colour in (BLUE, RED)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    assert pixel(tmp_path / "film.gif") == BLUE


def with_orientation(path: Path, image: Image.Image, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(path, exif=exif)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_when_asked(tmp_path, orientation):
    stored = quadrants(6, 4)
    path = with_orientation(tmp_path / "image.png", stored, orientation)
    truth = ImageOps.exif_transpose(Image.open(path))
    loaded = load_image(path, orient=True)
    assert np.array_equal(loaded.pixels, truth)
    assert loaded.full_size == truth.size == ((6, 4) if orientation < 5 else (4, 6))
    assert loaded.origin == (0, 0)
    plain = load_image(path, orient=False)
    assert np.array_equal(plain.pixels, stored)
    assert plain.full_size == (6, 4)


def test_orientation_6_turns_the_left_edge_up(tmp_path):
    path = with_orientation(tmp_path / "image.png", quadrants(6, 4), 6)
    corners = [load_image(path, orient=True).pixels.getpixel(xy) for xy in ((0, 0), (3, 0), (3, 5), (0, 5))]
    assert corners == [YELLOW, RED, GREEN, BLUE]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_crop_is_of_pixels_as_shown_and_has_its_origin(tmp_path, orientation):
    rng = np.random.default_rng(0)
    stored = Image.fromarray(rng.integers(0, 256, (11, 17, 3), np.uint8))
    path = with_orientation(tmp_path / "image.png", stored, orientation)
    shown = ImageOps.exif_transpose(Image.open(path))
    crop = load_image(path, orient=True, box=(2.4, 2.6, 9.0, 9.5))
    assert np.array_equal(crop.pixels, shown.crop((2, 3, 9, 10)))
    assert (crop.full_size, crop.origin) == (shown.size, (2, 3))
    stored_crop = load_image(path, orient=False, box=(2.4, 2.6, 9.0, 9.5))
    assert (stored_crop.full_size, stored_crop.origin) == ((17, 11), (2, 3))
    assert np.array_equal(stored_crop.pixels, stored.crop((2, 3, 9, 10)))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0MM", b"Exif\0\0junk", b"E", b"MM\0*\0\0\0\x08\0\x09\x01"])
def test_damaged_exif_data_leave_the_image_upright(tmp_path, exif):
    quadrants(6, 4).save(tmp_path / "image.webp", exif=exif, lossless=True)
    assert load_image(tmp_path / "image.webp", orient=True).full_size == (6, 4)


def test_an_oriented_tiff_is_treated_as_the_stored_image(tmp_path):
    path = tmp_path / "image.tif"
    quadrants(6, 4).save(path, tiffinfo={274: 6})
    for orient in (False, True):
        loaded = load_image(path, orient=orient)
        assert loaded.full_size == (4, 6)
        assert loaded.pixels.getpixel((0, 0)) == YELLOW


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif", "gif"])
def test_truncated_images_are_refused(tmp_path, suffix):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    reason = "could not create decoder object" if suffix == "webp" else "image file is truncated.*"
    with pytest.raises(ImageError, match=rf"image\.{suffix}: cannot be read \({reason}\); copy or export it again$"):
        load_image(path, orient=False)


def test_a_damaged_image_is_named(tmp_path):
    path = tmp_path / "image.png"
    quadrants(32, 32).save(path)
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 6] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(
        ImageError, match=r"image\.png: cannot be read \(broken data stream .*\); copy or export it again$"
    ):
        load_image(path, orient=False)


def test_a_file_that_is_not_an_image_is_refused(tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_text("no picture")
    with pytest.raises(UnknownFormatError, match=r"notes\.jpg: not an image of a known format; convert it to"):
        load_image(path, orient=False)
    path.write_bytes(b"")
    with pytest.raises(UnknownFormatError, match=r"notes\.jpg: an empty file \(0 bytes\); copy it again"):
        load_image(path, orient=False)
    with pytest.raises(ImageError, match=r"gone\.jpg: cannot be read \(No such file or directory\); copy"):
        load_image(tmp_path / "gone.jpg", orient=False)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((1, 1, 1.3, 4), "is empty; give x0, y0, x1, y1 in pixels with x0 < x1 and y0 < y1"),
        ((5, 1, 2, 4), "is empty"),
        (
            (-2, 0, 3, 3),
            r"reaches outside the image \(4 × 6 pixels as shown, 6 × 4 as stored\); give it in pixels as shown",
        ),
        ((0, 0, 3, 6.6), "reaches outside the image"),
        ((0, 0, 4.6, 6), "reaches outside the image"),
        ((0, 0, float("nan"), 4), "is not four finite numbers; give x0, y0, x1, y1 in pixels"),
        ((0, 0, float("inf"), 4), "is not four finite numbers; give x0, y0, x1, y1 in pixels"),
    ],
)
def test_an_invalid_box_is_refused(tmp_path, box, message):
    with_orientation(tmp_path / "image.png", quadrants(6, 4), 6)
    with pytest.raises(ImageError, match=rf"image\.png: box \[.*\] {message}"):
        load_image(tmp_path / "image.png", orient=True, box=box)


def test_a_box_of_three_numbers_is_refused():
    with pytest.raises(ImageError, match="is not four finite numbers; give x0, y0, x1, y1 in pixels"):
        round_box([0, 0, 3], (6, 4), (6, 4))


@given(
    full=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    part=st.tuples(st.floats(0.01, 1), st.floats(0.01, 1)),
    image_size=st.integers(1, 400),
)
def test_resizing_keeps_the_scale_of_the_whole_image_and_enlarges_nothing(full, part, image_size):
    whole = resize(LoadedImage(Image.new("RGB", full), full), image_size)
    assert max(whole.size) == min(image_size, max(full))
    crop = tuple(max(1, int(side * fraction)) for side, fraction in zip(full, part, strict=True))
    resized = resize(LoadedImage(Image.new("RGB", crop), full), image_size)
    assert all(1 <= new <= old for new, old in zip(resized.size, crop, strict=True))
    scale = min(1.0, image_size / max(full))
    assert max(resized.size) == max(1, int(max(crop) * scale + 1e-9))
    assert abs(min(resized.size) - min(crop) * scale) < 2


def test_resizing_agrees_with_pillow_and_does_not_change_the_image():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 200, 3), np.uint8))
    truth = image.resize((100, 45), Image.Resampling.LANCZOS)
    assert np.array_equal(resize(LoadedImage(image, (200, 90)), 100), truth)
    assert image.size == (200, 90)
    assert np.array_equal(resize(LoadedImage(image, (400, 90)), 200), truth)


def test_prepare_agrees_with_torchvision():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8))
    tensor = prepare(LoadedImage(image, image.size), 1024)
    truth = functional.normalize(functional.to_tensor(image), list(MEAN), list(STD))
    assert tensor.shape == (3, 30, 50)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    assert torch.equal(tensor, truth)


def test_the_reference_crop_has_the_reference_shape(test_data):
    with np.load(test_data / "parity" / "how_photos.npz") as reference:
        photo = test_data / "photos" / "images" / str(reference["names"][0])
        loaded = load_image(photo, orient=True, box=tuple(reference["crop_bbox"].astype(float)))
        tensor = prepare(loaded, int(reference["image_size"]))
        assert tensor.shape == tuple(reference["crop_tensor_shape"])
