"""Photos in batches of equal shape, decoded ahead of the network by threads."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from lrcr.data.dataset import Photo
from lrcr.data.images import load_image, prepare

_THREADS = 4
_AHEAD = 16
_WAITING = 8


@dataclass(frozen=True)
class _Decoded:
    """One photo as the network sees it, and what `Batch` tells of it; the pixels as read are large and let go."""

    position: int
    size: tuple[int, int]
    origin: tuple[float, float]
    image: Tensor


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

    At most `_WAITING` batches' photos wait for others of their shape; then those that wait longest go as they are.

    Raises:
        ImageError: a photo cannot be decoded.
    """
    pending: dict[tuple[int, ...], list[_Decoded]] = {}
    for decoded in _decode_ahead(photos, image_size):
        shape = tuple(decoded.image.shape)
        pending.setdefault(shape, []).append(decoded)
        if len(pending[shape]) == batch:
            yield _stack(pending.pop(shape))
        elif sum(map(len, pending.values())) == _WAITING * batch:
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
        return _Decoded(position, loaded.pixels.size, loaded.origin, prepare(loaded, image_size))

    waiting: deque[Future[_Decoded]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for position, photo in enumerate(photos):
            waiting.append(pool.submit(decode, position, photo))
            if len(waiting) == _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
