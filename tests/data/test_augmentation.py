import numpy as np
import pytest
from PIL import Image

from lrcr.data.augmentation import augment


def draw(width: int, height: int) -> Image.Image:
    """Red grows to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(60, 180, width), np.linspace(60, 180, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 120)], axis=2).astype(np.uint8))


@pytest.mark.parametrize("size", [(90, 60), (60, 90), (3, 2), (1, 1)])
def test_a_version_follows_its_seed_and_has_the_size_of_the_image(size):
    pixels = draw(*size)
    versions = [augment(pixels, seed) for seed in (1, 2, 1)]
    assert {(version.size, version.mode) for version in versions} == {(size, "RGB")}
    found = [np.array(version) for version in versions]
    assert np.array_equal(found[0], found[2]) and not np.array_equal(found[0], found[1])
    assert np.array_equal(np.array(pixels), np.array(draw(*size))), "the image itself is not changed"


def test_versions_differ_in_crop_side_and_colour():
    versions = np.stack([np.array(augment(draw(90, 60), seed)).astype(float) for seed in range(200)])
    rises = versions[:, :, -1, 0].mean(axis=1) - versions[:, :, 0, 0].mean(axis=1)  # of red, from left to right
    assert 70 < (rises < 0).sum() < 130, "one half is mirrored"
    down = versions[:, -1, :, 1].mean(axis=1) - versions[:, 0, :, 1].mean(axis=1)
    assert (down > 0).all(), "none is upside down"
    brightness = versions.mean(axis=(1, 2, 3))
    assert brightness.min() < 0.8 * 120 < 1.2 * 120 < brightness.max()
    left = np.minimum(versions[:, :, 0, 0].mean(axis=1), versions[:, :, -1, 0].mean(axis=1)) / brightness
    assert left.max() - left.min() > 0.1, "crops begin at different places"
