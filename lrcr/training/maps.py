"""The source of the backbone's maps in training: computed each time, or stored if the backbone is frozen."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lrcr.data.dataset import Photo
from lrcr.data.loading import load_batches
from lrcr.models.backbone import Backbone
from lrcr.models.descriptors import resize, scales_that_fit
from lrcr.models.model import Model
from lrcr.progress import SILENT, Progress
from lrcr.runtime import distributed
from lrcr.storage.artifacts import fingerprint, staged_file

_BATCH = 8

Batches = Iterator[tuple[list[int], list[Tensor]]]
"""Positions of photos in the given sequence, and their maps: at each scale of shape (positions, C, H, W)."""

SCALE_ONE = (1.0,)


class Maps(Protocol):
    """A source of the backbone's maps of photos, in batches of maps of equal shape."""

    def batches(self, photos: Sequence[Photo], size: int = _BATCH, scales: Sequence[float] = SCALE_ONE) -> Batches:
        """The maps of at most `size` photos at a time, in any order; without scales at which a photo has no pixel."""
        ...


class TrunkMaps:
    """Maps that are computed at each call, with gradient if it is enabled.

    Args:
        backbone: on `device`.
        image_size: longest side of the photos in pixels.
    """

    def __init__(self, backbone: Backbone, image_size: int, device: torch.device) -> None:
        self.backbone = backbone
        self.image_size = image_size
        self.device = device

    def batches(self, photos: Sequence[Photo], size: int = _BATCH, scales: Sequence[float] = SCALE_ONE) -> Batches:
        """See `Maps`."""
        for batch in load_batches(photos, self.image_size, size):
            images = batch.images.to(self.device, memory_format=torch.channels_last)
            yield batch.positions, [self.backbone(resize(images, scale)) for scale in scales_that_fit(images, scales)]


class StoredMaps:
    """Maps of a frozen backbone; those of each photo are computed once and stored in a file as float16.

    The ranks share the files. Each rank first writes to a temporary name that contains its number.

    Args:
        trunk: computes the maps that are not stored yet.
        folder: of the files; it must be used for one backbone, image size and dataset only.
    """

    def __init__(self, trunk: TrunkMaps, folder: Path) -> None:
        self.trunk = trunk
        self.folder = folder

    def batches(self, photos: Sequence[Photo], size: int = _BATCH, scales: Sequence[float] = SCALE_ONE) -> Batches:
        """See `Maps`."""
        self._store([photo for photo in dict.fromkeys(photos) if not self._file(photo, scales).exists()], scales)
        pending: dict[tuple[torch.Size, ...], list[tuple[int, list[Tensor]]]] = {}
        for position, photo in enumerate(photos):
            with np.load(self._file(photo, scales)) as file:
                maps = [torch.from_numpy(file[name]) for name in file.files]
            shapes = tuple(features.shape for features in maps)
            pending.setdefault(shapes, []).append((position, maps))
            if len(pending[shapes]) == size:
                yield self._stack(pending.pop(shapes))
        yield from map(self._stack, pending.values())

    @torch.no_grad()
    def _store(self, photos: Sequence[Photo], scales: Sequence[float]) -> None:
        for positions, batch in self.trunk.batches(photos, scales=scales):
            for row, position in enumerate(positions):
                maps = [features[row].half().cpu().numpy() for features in batch]
                target = self._file(photos[position], scales)
                of_rank = target.with_name(f"{distributed.rank()}-{target.name}")
                with staged_file(of_rank) as temporary, temporary.open("wb") as file:
                    np.savez(file, *maps)
                of_rank.replace(target)

    def _stack(self, group: list[tuple[int, list[Tensor]]]) -> tuple[list[int], list[Tensor]]:
        of_scales = zip(*(maps for _, maps in group), strict=True)
        return [position for position, _ in group], [
            torch.stack(maps).to(self.trunk.device).float() for maps in of_scales
        ]

    def _file(self, photo: Photo, scales: Sequence[float]) -> Path:
        return self.folder / f"{fingerprint(str(photo.path), photo.box, photo.orient, list(scales))}.npz"


@torch.no_grad()
def describe_globally(model: Model, maps: Maps, photos: Sequence[Photo], progress: Progress = SILENT) -> Tensor:
    """The training descriptor of each photo: unit vectors of shape (photos, D).

    Args:
        model: in evaluation mode.
        progress: one step for each photo.
    """
    vectors = torch.zeros(len(photos), model.dim, device=next(model.parameters()).device)
    for positions, [features] in maps.batches(photos):
        vectors[torch.tensor(positions, device=vectors.device)] = model.embed(features)
        progress.advance(len(positions))
    return vectors


def describe_distributed(model: Model, maps: Maps, photos: Sequence[Photo], progress: Progress = SILENT) -> Tensor:
    """As `describe_globally`, but each rank describes its share of the photos; all ranks return all vectors."""
    share = describe_globally(model, maps, distributed.share(photos), progress)
    vectors = share.new_zeros(len(photos), model.dim)
    vectors[distributed.rank() :: distributed.world_size()] = share
    return distributed.all_reduce_sum(vectors)
