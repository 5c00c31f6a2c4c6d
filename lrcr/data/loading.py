"""Batches of images of equal shape, decoded in advance by threads."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lrcr.data.augmentation import augment
from lrcr.data.dataset import Photo
from lrcr.data.images import load_image, prepare

_THREADS = 4
_PREFETCH = 16  # images decoded in advance
_MAX_PENDING = 8  # batches' worth of decoded images that wait for others of their shape


@dataclass(frozen=True)
class _Decoded:
    """One image as input of the network, and its fields of `Batch`; the decoded pixels are large and are not kept."""

    position: int
    size: tuple[int, int]
    origin: tuple[float, float]
    image: Tensor


@dataclass(frozen=True)
class Batch:
    """B images of one shape.

    Args:
        positions: position of each image in the sequence of photos.
        sizes: (width, height) of each crop or whole image, in pixels of the original image.
        origins: (x, y) of its upper left corner in the original image, in pixels.
        images: normalised, float32 of shape (B, 3, H, W).
    """

    positions: list[int]
    sizes: list[tuple[int, int]]
    origins: list[tuple[float, float]]
    images: Tensor


def load_batches(photos: Sequence[Photo], image_size: int, batch: int) -> Iterator[Batch]:
    """Decode photos in order and yield batches of at most `batch` images of equal shape.

    Which images form a batch depends on the photos alone. When `_MAX_PENDING * batch` images wait for others of their
    shape, the shape that has waited longest is yielded as an incomplete batch.

    Args:
        image_size: longest side of the resized whole image, in pixels.

    Raises:
        ImageError: a photo cannot be decoded.
    """
    pending: dict[tuple[int, ...], list[_Decoded]] = {}
    for decoded in _decode_ahead(photos, image_size):
        shape = tuple(decoded.image.shape)
        pending.setdefault(shape, []).append(decoded)
        if len(pending[shape]) == batch:
            yield _stack(pending.pop(shape))
        elif sum(map(len, pending.values())) == _MAX_PENDING * batch:
            yield _stack(pending.pop(next(iter(pending))))
    yield from (_stack(group) for group in pending.values())


def _stack(group: list[_Decoded]) -> Batch:
    return Batch(
        positions=[decoded.position for decoded in group],
        sizes=[decoded.size for decoded in group],
        origins=[decoded.origin for decoded in group],
        images=torch.stack([decoded.image for decoded in group]),
    )


def _decode_ahead(photos: Iterable[Photo], image_size: int) -> Iterator[_Decoded]:
    def decode(position: int, photo: Photo) -> _Decoded:
        loaded = load_image(photo.path, orient=photo.orient, box=photo.box)
        if photo.augmentation is not None:
            loaded = replace(loaded, pixels=augment(loaded.pixels, photo.augmentation))
        return _Decoded(position, loaded.pixels.size, loaded.origin, prepare(loaded, image_size))

    futures: deque[Future[_Decoded]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for position, photo in enumerate(photos):
            futures.append(pool.submit(decode, position, photo))
            if len(futures) == _PREFETCH:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()
