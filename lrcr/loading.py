"""Photos in batches of equal shape, decoded ahead of the network by threads."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from lrcr.datasets.dataset import Photo
from lrcr.images import LoadedImage, load_image, prepare

_THREADS = 4
_AHEAD = 16


@dataclass(frozen=True)
class Batch:
    """Photos of one shape.

    Args:
        positions: where each photo stood in the sequence.
        sizes: (width, height) in original pixels of what was read, box or whole.
        origins: its upper left corner in the original image.
        images: normalised, of shape (B, 3, H, W).
    """

    positions: list[int]
    sizes: list[tuple[int, int]]
    origins: list[tuple[float, float]]
    images: Tensor


def load_batches(photos: Sequence[Photo], image_size: int, batch: int) -> Iterator[Batch]:
    """Decode photos in order and yield them in batches of at most `batch` of equal shape, always the same ones.

    Raises:
        ImageError: a photo cannot be decoded.
    """
    pending: dict[tuple[int, ...], list[tuple[int, LoadedImage, Tensor]]] = {}
    for position, (loaded, image) in enumerate(_decode_ahead(photos, image_size)):
        group = pending.setdefault(tuple(image.shape), [])
        group.append((position, loaded, image))
        if len(group) == batch:
            yield _stack(pending.pop(tuple(image.shape)))
    yield from (_stack(group) for group in pending.values())


def _stack(group: list[tuple[int, LoadedImage, Tensor]]) -> Batch:
    return Batch(
        positions=[position for position, _, _ in group],
        sizes=[loaded.pixels.size for _, loaded, _ in group],
        origins=[loaded.origin for _, loaded, _ in group],
        images=torch.stack([image for _, _, image in group]),
    )


def _decode_ahead(photos: Iterable[Photo], image_size: int) -> Iterator[tuple[LoadedImage, Tensor]]:
    def decode(photo: Photo) -> tuple[LoadedImage, Tensor]:
        loaded = load_image(photo.path, orient=photo.orient, box=photo.box)
        return loaded, prepare(loaded, image_size)

    waiting: deque[Future[tuple[LoadedImage, Tensor]]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for photo in photos:
            waiting.append(pool.submit(decode, photo))
            if len(waiting) == _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
