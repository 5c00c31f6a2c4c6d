"""The source of the backbone's maps in training: computed each time, or as far as stages are frozen, stored."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lrcr.data.dataset import Photo
from lrcr.data.loading import WAITING, group_by_shape, load_batches
from lrcr.models.backbone import Backbone
from lrcr.models.descriptors import resize, scales_that_fit
from lrcr.runtime import distributed
from lrcr.storage.artifacts import fingerprint

_BATCH = 8

Batches = Iterator[tuple[list[int], list[Tensor]]]
"""Positions of photos in the given sequence, and their maps: at each scale of shape (positions, C, H, W)."""

SCALE_ONE = (1.0,)


class Maps(Protocol):
    """A source of the backbone's maps of photos, in batches of maps of equal shape."""

    def batches(self, photos: Sequence[Photo], size: int = _BATCH, scales: Sequence[float] = SCALE_ONE) -> Batches:
        """The maps of at most `size` photos at a time, in any order; without scales at which a photo has no pixel."""
        ...

    def at(self, image_size: int) -> "Maps":
        """The maps of photos of another size: their longest side in pixels."""
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

    def at(self, image_size: int) -> "TrunkMaps":
        """See `Maps`."""
        return TrunkMaps(self.backbone, image_size, self.device)


class StoredMaps:
    """Maps of which the part that frozen stages compute is computed once for each photo and scale, and stored in files.

    The other stages are called at each call, with gradient if it is enabled. Processes share the files; each one first
    writes to a temporary name of its own.

    Args:
        backbone: on `device`, of which all or some stages are frozen.
        image_size: longest side of the photos in pixels.
        folder: of the files, which are named by photo and frozen stages; the image files must stay as they are.
        dtype: of the stored values.
    """

    def __init__(
        self,
        backbone: Backbone,
        image_size: int,
        device: torch.device,
        folder: Path,
        dtype: npt.DTypeLike = np.float16,
    ) -> None:
        self.backbone = backbone
        self.image_size = image_size
        self.device = device
        self.folder = folder
        self.dtype = dtype
        self._hashes: dict[tuple[str, ...], str] = {}

    def batches(self, photos: Sequence[Photo], size: int = _BATCH, scales: Sequence[float] = SCALE_ONE) -> Batches:
        """See `Maps`."""
        self._store(photos, scales)
        yield from map(self._finish, group_by_shape(self._read(photos, scales), size, WAITING * size))

    def at(self, image_size: int) -> "StoredMaps":
        """See `Maps`; the files lie in the same folder."""
        return StoredMaps(self.backbone, image_size, self.device, self.folder, self.dtype)

    def _store(self, photos: Sequence[Photo], scales: Sequence[float]) -> None:
        """Store the maps of the frozen stages that no file holds; at a scale that leaves no pixel, an empty array."""
        missing: dict[tuple[float, ...], list[Photo]] = {}
        for photo in dict.fromkeys(photos):
            absent = tuple(scale for scale in scales if not self._file(photo, scale).exists())
            missing.setdefault(absent, []).append(photo)
        missing.pop((), None)
        for absent, group in missing.items():
            # One by one: values depend on the batch, and which maps are missing depends on when a run was killed.
            for batch in load_batches(group, self.image_size, 1):
                [position], images = batch.positions, batch.images.to(self.device, memory_format=torch.channels_last)
                fitting = scales_that_fit(images, absent)
                for scale in absent:
                    features = self._start(images, scale) if scale in fitting else np.empty(0, self.dtype)
                    self._write(self._file(group[position], scale), features)

    @torch.no_grad()
    def _start(self, images: Tensor, scale: float) -> npt.NDArray[np.floating]:
        return self.backbone.start(resize(images, scale))[0].cpu().numpy().astype(self.dtype)

    def _read(
        self, photos: Sequence[Photo], scales: Sequence[float]
    ) -> Iterator[tuple[tuple[torch.Size, ...], tuple[int, list[Tensor]]]]:
        """The shapes of the maps of each photo, and its position with these maps."""
        for position, photo in enumerate(photos):
            stored = [self._load(photo, scale) for scale in scales]
            maps = [features for features in stored if features.numel()]
            yield tuple(features.shape for features in maps), (position, maps)

    def _load(self, photo: Photo, scale: float) -> Tensor:
        """Read a file; one that lost its end when the machine did is written again."""
        file = self._file(photo, scale)
        try:
            return torch.from_numpy(np.load(file))
        except (ValueError, EOFError):
            file.unlink(missing_ok=True)
            self._store([photo], [scale])
            return torch.from_numpy(np.load(file))

    def _write(self, target: Path, features: npt.NDArray[np.floating]) -> None:
        """Write a file under a name of its own, then rename it; not flushed to the disk, which would take most time."""
        temporary = target.with_name(f"{distributed.rank()}-{os.getpid()}-{target.name}")
        temporary.parent.mkdir(parents=True, exist_ok=True)
        np.save(temporary, features)
        temporary.replace(target)

    def _finish(self, group: list[tuple[int, list[Tensor]]]) -> tuple[list[int], list[Tensor]]:
        """Positions and the backbone's maps of photos, from their stored maps."""
        of_scales = zip(*(maps for _, maps in group), strict=True)
        stacked = (torch.stack(maps).float().to(self.device, memory_format=torch.channels_last) for maps in of_scales)
        return [position for position, _ in group], [self.backbone.end(maps) for maps in stacked]

    def _file(self, photo: Photo, scale: float) -> Path:
        image = (str(photo.path), photo.box, photo.orient, photo.augmentation, photo.mirrored)
        return self.folder / f"{fingerprint(*image, self.image_size, scale, self._frozen)}.npy"

    @property
    def _frozen(self) -> str:
        """The hash of the stages that are frozen now: a later phase of the training may freeze more."""
        names = self.backbone.frozen
        if names not in self._hashes:
            self._hashes[names] = self._hash()
        return self._hashes[names]

    def _hash(self) -> str:
        """A hash of the frozen stages, of their arithmetic and of the type of the stored values."""
        computed = (self.backbone.name, self.backbone.frozen, self.backbone.compute, np.dtype(self.dtype).name)
        digest = hashlib.sha256(repr(computed).encode())
        for name in self.backbone.frozen:
            for tensor in self.backbone.trunk.get_submodule(name).state_dict().values():
                digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()
