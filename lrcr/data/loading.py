"""Batches of images of equal shape, decoded in advance by threads."""

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from lrcr.data.augmentation import augment
from lrcr.data.dataset import Photo
from lrcr.data.images import load_image, prepare

WAITING = 8
"""Batches' worth of images that wait for others of their shape, where no setting bounds them."""

_AHEAD = 16  # images decoded in advance
_MOST_THREADS = 4
_Item = TypeVar("_Item")


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


def load_batches(
    photos: Sequence[Photo], image_size: int, batch: int, decoded_images: int | None = None
) -> Iterator[Batch]:
    """Decode photos in order and yield batches of at most `batch` images of equal shape.

    While a batch is in use, threads decode the next photos. Which images form a batch depends on the arguments alone.

    Args:
        image_size: longest side of the resized whole image, in pixels.
        decoded_images: most decoded images that are held at one time, ≥ 4, besides the batch in use: those decoded in
            advance, and those that wait for others of their shape. None: 16 + 8 · `batch`.

    Raises:
        ImageError: a photo cannot be decoded.
    """
    held = decoded_images or _AHEAD + WAITING * batch
    ahead = min(_AHEAD, held // 2)
    decoded = ((one.image.shape, one) for one in _decode_ahead(photos, image_size, ahead))
    # Not a loop: its variable would keep the images of a batch while the next is decoded.
    yield from map(_stack, group_by_shape(decoded, batch, held - ahead))


def group_by_shape(items: Iterable[tuple[Hashable, _Item]], size: int, waiting: int) -> Iterator[list[_Item]]:
    """Groups of `size` items of equal shape; the last group of a shape may have fewer.

    When `waiting` items wait for others of their shape, the shape that has waited longest gives a smaller group.

    Args:
        items: shapes and items.
    """
    groups: dict[Hashable, list[_Item]] = {}
    for shape, item in items:
        groups.setdefault(shape, []).append(item)
        if len(groups[shape]) == size:
            yield groups.pop(shape)
        elif sum(map(len, groups.values())) == waiting:
            yield groups.pop(next(iter(groups)))
    yield from groups.values()


def decoding_threads() -> int:
    """The number of threads that decode images: four beside a GPU, else as many as torch has, at most four."""
    return _MOST_THREADS if torch.cuda.is_available() else min(_MOST_THREADS, torch.get_num_threads())


def _stack(group: list[_Decoded]) -> Batch:
    return Batch(
        positions=[decoded.position for decoded in group],
        sizes=[decoded.size for decoded in group],
        origins=[decoded.origin for decoded in group],
        images=torch.stack([decoded.image for decoded in group]),
    )


def _decode_ahead(photos: Iterable[Photo], image_size: int, ahead: int) -> Iterator[_Decoded]:
    """Decode photos, at most `ahead` at a time that are not yielded yet."""

    def decode(position: int, photo: Photo) -> _Decoded:
        load = partial(
            load_image, photo.path, orient=photo.orient, box=photo.box, tolerate_truncated=photo.tolerate_truncated
        )
        if photo.augmentation is None:
            loaded = load(image_size=image_size)
        else:
            loaded = load()
            loaded = replace(loaded, pixels=augment(loaded.pixels, photo.augmentation))
        image = prepare(loaded, image_size)
        return _Decoded(position, loaded.size, loaded.origin, image.flip(2) if photo.mirrored else image)

    futures: deque[Future[_Decoded]] = deque()
    with ThreadPoolExecutor(decoding_threads()) as pool:
        for position, photo in enumerate(photos):
            futures.append(pool.submit(decode, position, photo))
            if len(futures) == ahead:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()
