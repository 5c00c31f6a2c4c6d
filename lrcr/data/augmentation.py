"""Random versions of training images."""

import numpy as np
from PIL import Image, ImageEnhance

_SIDE = (0.7, 1.0)  # of the crop, as a share of the image's side
_COLOUR = (0.7, 1.3)  # factors of brightness, contrast and saturation


def augment(pixels: Image.Image, seed: int) -> Image.Image:
    """A random crop of an image, mirrored with probability ½ and with other colours, in the size of the image.

    The crop has the aspect ratio of the image.

    Args:
        pixels: 8-bit RGB.
        seed: of the version.
    """
    rng = np.random.default_rng(seed)
    side, left, top = rng.uniform(*_SIDE), rng.random(), rng.random()
    width, height = pixels.size
    x, y = left * (1 - side) * width, top * (1 - side) * height
    version = pixels.resize(pixels.size, Image.Resampling.BICUBIC, box=(x, y, x + side * width, y + side * height))
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        version = enhance(version).enhance(rng.uniform(*_COLOUR))
    return version.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else version
