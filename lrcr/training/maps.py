"""Where training takes the trunk's maps from: computed each time or, where the trunk is frozen, once."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from lrcr.artifacts import fingerprint, staged_file
from lrcr.datasets.dataset import Photo
from lrcr.extraction import Tick
from lrcr.loading import load_batches
from lrcr.models.backbone import Backbone
from lrcr.models.zoo import Model
from lrcr.progress import no_tick

_BATCH = 8

Batches = Iterator[tuple[list[int], Tensor]]
"""Positions of photos in the sequence asked for, and their maps of shape (len(positions), C, H, W)."""


class Maps(Protocol):
    """The trunk's maps of photos, those of equal shape together."""

    def batches(self, photos: Sequence[Photo], size: int = _BATCH) -> Batches:
        """At most `size` photos at a time, in any order."""
        ...


class TrunkMaps:
    """Maps computed whenever they are asked for, with gradient where that is enabled.

    Args:
        backbone: on `device`.
        image_size: longest side of the photos in pixels.
    """

    def __init__(self, backbone: Backbone, image_size: int, device: torch.device) -> None:
        self.backbone = backbone
        self.image_size = image_size
        self.device = device

    def batches(self, photos: Sequence[Photo], size: int = _BATCH) -> Batches:
        """See `Maps`."""
        for batch in load_batches(photos, self.image_size, size):
            yield batch.positions, self.backbone(batch.images.to(self.device, memory_format=torch.channels_last))


class StoredMaps:
    """Maps of a frozen trunk, each computed once and kept in a file as float16.

    Args:
        trunk: computes those that are not there yet.
        folder: of the files; belongs to this trunk, image size and dataset alone.
    """

    def __init__(self, trunk: TrunkMaps, folder: Path) -> None:
        self.trunk = trunk
        self.folder = folder

    def batches(self, photos: Sequence[Photo], size: int = _BATCH) -> Batches:
        """See `Maps`."""
        self._store([photo for photo in dict.fromkeys(photos) if not self._file(photo).exists()])
        pending: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
        for position, photo in enumerate(photos):
            features = torch.from_numpy(np.load(self._file(photo)))
            group = pending.setdefault(tuple(features.shape), [])
            group.append((position, features))
            if len(group) == size:
                yield self._stack(pending.pop(tuple(features.shape)))
        yield from map(self._stack, pending.values())

    @torch.no_grad()
    def _store(self, photos: Sequence[Photo]) -> None:
        for positions, maps in self.trunk.batches(photos):
            for position, features in zip(positions, maps, strict=True):
                with staged_file(self._file(photos[position])) as temporary, temporary.open("wb") as file:
                    np.save(file, features.half().cpu().numpy())

    def _stack(self, group: list[tuple[int, Tensor]]) -> tuple[list[int], Tensor]:
        maps = torch.stack([features for _, features in group])
        return [position for position, _ in group], maps.to(self.trunk.device).float()

    def _file(self, photo: Photo) -> Path:
        return self.folder / f"{fingerprint(str(photo.path), photo.box, photo.orient)}.npy"


@torch.no_grad()
def describe_globally(model: Model, maps: Maps, photos: Sequence[Photo], tick: Tick = no_tick) -> Tensor:
    """The training descriptor of each photo: unit vectors of shape (photos, D).

    Args:
        model: in evaluation mode.
        tick: called once a photo, to show progress.
    """
    vectors = torch.zeros(len(photos), model.dim, device=next(model.parameters()).device)
    for positions, features in maps.batches(photos):
        vectors[torch.tensor(positions, device=vectors.device)] = model.describe_map(features)
        for _ in positions:
            tick()
    return vectors
