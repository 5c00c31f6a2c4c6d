"""Random resized crops, mirrored with probability ½: the usual input of classifiers (Szegedy et al., CVPR 2015).

They may have colour noise along the principal components of the colours of ImageNet (Krizhevsky et al., NIPS 2012).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lrcr.data.dataset import Photo
from lrcr.data.images import STD, load_image, normalise
from lrcr.data.loading import decoding_threads

_ASPECT = (3 / 4, 4 / 3)  # width over height
_TRIES = 10
_COLOUR_DEVIATIONS = np.array([0.2175, 0.0188, 0.0045])  # along the components, of colours in 0–1
_COLOUR_COMPONENTS = np.array(  # one a column: their red, green and blue
    [[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]]
)


def crop_batches(
    batches: Iterable[tuple[Sequence[Photo], Sequence[int]]], size: int, area: float, noise: float = 0.0
) -> Iterator[Tensor]:
    """Decode and crop batches of photos, one batch in advance: tensors of shape (B, 3, size, size).

    Args:
        batches: the photos of each batch, and the seed of the crop of each photo.
        size: side of the resized crops in pixels.
        area: smallest area of a crop as a share of the photo's, 0–1.
        noise: see `random_crop`.

    Raises:
        ImageError: a photo cannot be decoded.
    """
    waiting: deque[list[Future[Tensor]]] = deque()
    with ThreadPoolExecutor(decoding_threads()) as pool:
        for photos, seeds in batches:
            pairs = zip(photos, seeds, strict=True)
            waiting.append([pool.submit(random_crop, photo, size, area, int(seed), noise) for photo, seed in pairs])
            if len(waiting) == 2:
                yield torch.stack([crop.result() for crop in waiting.popleft()])
        while waiting:
            yield torch.stack([crop.result() for crop in waiting.popleft()])


def random_crop(photo: Photo, size: int, area: float, seed: int, noise: float = 0.0) -> Tensor:
    """A random crop of a photo, resized to a square and normalised: of shape (3, size, size).

    Args:
        size: side of the resized crop in pixels.
        area: smallest area of the crop as a share of the photo's, 0–1.
        seed: of the crop.
        noise: standard deviation of the colour noise, in units of the deviation of colours along each component.

    Raises:
        ImageError: the photo cannot be decoded.
    """
    pixels = load_image(
        photo.path, orient=photo.orient, box=photo.box, tolerate_truncated=photo.tolerate_truncated
    ).pixels
    rng = np.random.default_rng(seed)
    crop = pixels.resize((size, size), Image.Resampling.BILINEAR, box=draw_box(*pixels.size, area, rng))
    image = normalise(crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else crop)
    if not noise:
        return image
    colour = _COLOUR_COMPONENTS @ (rng.normal(0, noise, 3) * _COLOUR_DEVIATIONS) / STD
    return image + torch.from_numpy(colour).to(image)[:, None, None]


def draw_box(width: int, height: int, area: float, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Draw a crop x0, y0, x1, y1 of an image; if none of ten draws fits, it is the largest central square.

    Args:
        area: smallest area of the crop as a share of the image's; the share is uniform from `area` to 1.
    """
    for _ in range(_TRIES):
        pixels, aspect = rng.uniform(area, 1) * width * height, np.exp(rng.uniform(*np.log(_ASPECT)))
        wide, high = float(np.sqrt(pixels * aspect)), float(np.sqrt(pixels / aspect))
        if wide <= width and high <= height:
            x, y = rng.uniform(0, width - wide), rng.uniform(0, height - high)
            return x, y, x + wide, y + high
    side = min(width, height)
    x, y = (width - side) / 2, (height - side) / 2
    return x, y, x + side, y + side
