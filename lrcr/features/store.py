"""The store of local descriptors: HDF5 shards under one manifest.

Image *i* of a shard owns the rows `offsets[i]:offsets[i + 1]`, strongest first.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from lrcr.errors import ArtifactError
from lrcr.storage.artifacts import MANIFEST, Manifest, open_manifest, staged_file

Floats = npt.NDArray[np.float32]
Sample = Callable[[int, np.random.Generator], npt.NDArray[np.floating]]
"""(count, generator) → at most `count` descriptors of a database, of shape (N, D), drawn at random."""


@dataclass(frozen=True)
class Descriptors:
    """Local descriptors of several images.

    Args:
        descriptors: of shape (N, D), float32 or float16.
        strength: of shape (N,): attention divided by the image's maximum over all scales.
        xy: of shape (N, 2): centre of the location in pixels of the original image.
        scale: of shape (N,).
        offsets: of shape (images + 1,), int64: image i owns rows offsets[i]:offsets[i+1].
        region: of shape (N,), int32: the region of its image that each row describes; 0: the whole image. None: the
            images have no regions.
        region_counts: of shape (images,), int32: the number of regions of each image, also of those without rows.
        vectors: of shape (images, V), as `descriptors`: the vector of each image, for models that have both.
    """

    descriptors: npt.NDArray[np.floating]
    strength: Floats
    xy: Floats
    scale: Floats
    offsets: npt.NDArray[np.int64]
    region: npt.NDArray[np.int32] | None = None
    region_counts: npt.NDArray[np.int32] | None = None
    vectors: npt.NDArray[np.floating] | None = None

    def __post_init__(self) -> None:
        """Check the shapes of the arrays, and the offsets."""
        rows = len(self.descriptors)
        shapes = (self.strength.shape, self.xy.shape, self.scale.shape)
        if self.descriptors.ndim != 2 or shapes != ((rows,), (rows, 2), (rows,)):
            raise ArtifactError(f"descriptors: arrays of unequal length ({rows} rows against {shapes}); extract again")
        ends = (*self.offsets[:1], *self.offsets[-1:])
        if ends != (0, rows) or (np.diff(self.offsets) < 0).any():
            raise ArtifactError("descriptors: offsets do not ascend from 0 to the number of rows; extract again")
        if self.region is not None and not self._regions_exist(self.region):
            raise ArtifactError("descriptors: rows of regions that their image does not have; extract again")
        if self.vectors is not None and (self.vectors.ndim, len(self.vectors)) != (2, len(self)):
            raise ArtifactError(f"descriptors: {self.vectors.shape} vectors of {len(self)} images; extract again")

    def _regions_exist(self, region: npt.NDArray[np.int32]) -> bool:
        counts = self.region_counts
        if counts is None or (len(counts), len(region)) != (len(self), len(self.descriptors)):
            return False
        return bool(((region >= 0) & (region < np.repeat(counts, np.diff(self.offsets)))).all())

    def __len__(self) -> int:
        """The number of images."""
        return len(self.offsets) - 1

    def take(self, images: Sequence[int]) -> "Descriptors":
        """The descriptors of some of the images, in the given order."""
        spans = [np.arange(self.offsets[i], self.offsets[i + 1]) for i in images]
        rows = np.concatenate([np.zeros(0, np.int64), *spans])
        offsets = np.cumsum([0, *map(len, spans)], dtype=np.int64)
        return self._select(rows, offsets, np.array(images, np.int64))

    def whole_images(self) -> "Descriptors":
        """The descriptors of the whole images, without those of other regions."""
        if self.region is None:
            return self
        rows, plain = np.flatnonzero(self.region == 0), replace(self, region=None, region_counts=None)
        return plain._select(rows, np.searchsorted(rows, self.offsets), np.arange(len(self)))

    def as_vectors(self) -> "Descriptors":
        """The vector of each image as its only row; unchanged if the images have no vectors beside the rows."""
        if self.vectors is None:
            return self
        ones = np.ones(len(self), np.float32)
        return Descriptors(self.vectors, ones, np.zeros((len(self), 2), np.float32), ones, np.arange(len(self) + 1))

    def _select(
        self, rows: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64], images: npt.NDArray[np.int64]
    ) -> "Descriptors":
        return Descriptors(
            self.descriptors[rows],
            self.strength[rows],
            self.xy[rows],
            self.scale[rows],
            offsets,
            None if self.region is None else self.region[rows],
            None if self.region_counts is None else self.region_counts[images],
            None if self.vectors is None else self.vectors[images],
        )


def require_finite(images: Descriptors, names: Sequence[str] | None = None) -> None:
    """Refuse descriptors that hold NaN or infinity.

    Args:
        names: of the images, for the error message; without them it gives their numbers.

    Raises:
        ArtifactError: a descriptor is not finite; the message names its image.
    """
    wrong = np.flatnonzero(~np.isfinite(images.descriptors).all(axis=1))
    if len(wrong):
        image = int(np.searchsorted(images.offsets, wrong[0], side="right")) - 1
        name = names[image] if names is not None else f"image {image}"
        raise ArtifactError(f"{name}: a descriptor holds NaN or infinity; extract it again with finite weights")


def join(parts: Sequence[Descriptors]) -> Descriptors:
    """The images of several parts, at least one, in order."""
    bases = np.cumsum([0, *(len(part.descriptors) for part in parts)])
    offsets = [part.offsets[1:] + base for part, base in zip(parts, bases, strict=False)]
    return Descriptors(
        np.concatenate([part.descriptors for part in parts]),
        np.concatenate([part.strength for part in parts]),
        np.concatenate([part.xy for part in parts]),
        np.concatenate([part.scale for part in parts]),
        np.concatenate([np.zeros(1, np.int64), *offsets]),
        _concatenate([part.region for part in parts]),
        _concatenate([part.region_counts for part in parts]),
        _concatenate([part.vectors for part in parts]),
    )


def _concatenate(arrays: Sequence[npt.NDArray[Any] | None]) -> npt.NDArray[Any] | None:
    """The arrays one after the other; None if they are None."""
    found = [array for array in arrays if array is not None]
    return np.concatenate(found) if found else None


def write_shard(path: Path, shard: Descriptors) -> None:
    """Write a shard, whole or not at all; equal arrays give equal bytes."""
    with staged_file(path) as temporary, h5py.File(temporary, "w", track_order=False) as file:
        for name, values in vars(shard).items():
            if values is not None:
                file.create_dataset(name, data=values, track_times=False)


def read_shard(path: Path, image: int | None = None, *, without_descriptors: bool = False) -> Descriptors:
    """Read a shard into memory, or one image of it.

    Args:
        without_descriptors: whether `descriptors` shall be of shape (N, 0), which takes a fraction of the time.

    Raises:
        ArtifactError: the shard is missing or damaged, or its arrays contradict each other.
    """
    try:
        with h5py.File(path, "r") as file:
            offsets, counts = file["offsets"][:].astype(np.int64), file.get("region_counts")
            if image is not None:
                if not 0 <= image < len(offsets) - 1:
                    raise IndexError(f"no image {image}")
                offsets = offsets[image : image + 2]
            images = slice(image, None if image is None else image + 1)
            rows = slice(offsets[0], offsets[-1])
            columns = slice(0 if without_descriptors else None)
            return Descriptors(
                descriptors=file["descriptors"][rows, columns],
                strength=file["strength"][rows].astype(np.float32),
                xy=file["xy"][rows].astype(np.float32),
                scale=file["scale"][rows].astype(np.float32),
                offsets=offsets - offsets[0],
                region=None if counts is None else file["region"][rows].astype(np.int32),
                region_counts=None if counts is None else counts[images].astype(np.int32),
                vectors=file["vectors"][images] if "vectors" in file else None,
            )
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; extract again") from None
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None
    except (OSError, KeyError, IndexError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise ArtifactError(f"{path}: not a shard of descriptors ({error}); extract again") from None


@dataclass(frozen=True)
class DescriptorStore:
    """A folder of shards.

    Args:
        folder: of the shards.
        manifest: of kind "descriptors"; its facts list the shards.
    """

    folder: Path
    manifest: Manifest

    @property
    def images(self) -> int:
        """The number of images."""
        return int(self.manifest.facts["images"])

    @property
    def stored(self) -> bool:
        """Whether the store holds descriptors: with `extract.store_descriptors: false` that of a database does not."""
        return bool(self.manifest.facts.get("stored", True))

    def shards(self) -> Iterator[Descriptors]:
        """Read the shards one after the other, in order."""
        for name in self.manifest.facts["shards"]:
            yield read_shard(self.folder / name)

    def image(self, image: int) -> Descriptors:
        """Read the descriptors of one image only.

        Raises:
            ArtifactError: there is no such image, its shard is damaged, or the store holds no descriptors.
        """
        return read_shard(*self._locate(image))

    def locations(self, images: Sequence[int]) -> Iterator[Descriptors]:
        """Read strength, position and scale of the descriptors of some images, without the descriptors themselves.

        Args:
            images: ascending; each shard is read once.

        Raises:
            ArtifactError: as `image`.
        """
        for path, located in groupby(map(self._locate, images), key=itemgetter(0)):
            shard = read_shard(path, without_descriptors=True)
            for _, row in located:
                yield shard.take([row])

    def _locate(self, image: int) -> tuple[Path, int]:
        """The shard of an image, and its place in it."""
        if not self.stored:
            raise ArtifactError(
                f"{self.folder}: holds no descriptors; set extract.store_descriptors to true and extract again"
            )
        if not 0 <= image < self.images:
            raise ArtifactError(f"{self.folder}: has no image {image}, only 0…{self.images - 1}; extract again")
        shard, row = divmod(image, int(self.manifest.facts["shard"]))
        return self.folder / self.manifest.facts["shards"][shard], row

    def sample(self, count: int, rng: np.random.Generator) -> npt.NDArray[np.floating]:
        """At most `count` descriptors, of shape (N, D), drawn at random from all shards, in the order of the store."""
        chosen = draw_rows(int(self.manifest.facts["descriptors"]), count, rng)
        parts, base = [], 0
        for shard in self.shards():
            rows = chosen[(chosen >= base) & (chosen < base + len(shard.descriptors))] - base
            parts.append(shard.descriptors[rows])
            base += len(shard.descriptors)
        return np.concatenate(parts)

    def read(self) -> Descriptors:
        """Read all descriptors into memory."""
        return join(list(self.shards()))


def draw_rows(total: int, count: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """At most `count` of the numbers below `total`, drawn at random, ascending: of shape (min(count, total),)."""
    return np.sort(rng.choice(total, count, replace=False)) if count < total else np.arange(total)


def shard_facts(files: Sequence[Path], images: int, size: int) -> dict[str, Any]:
    """The facts of a store of images in shards of `size` images, for its manifest; a damaged shard is removed."""
    rows, vectors = 0, None
    for file in files:
        try:
            shard = read_shard(file)
        except ArtifactError:
            file.unlink(missing_ok=True)
            raise
        rows, vectors = rows + len(shard.descriptors), shard.vectors
    facts = {"images": images, "descriptors": rows, "shards": [file.name for file in files], "shard": min(size, images)}
    return facts if vectors is None else {**facts, "vector_dimensions": vectors.shape[1]}


def open_descriptors(folder: Path) -> DescriptorStore:
    """Open the store in `folder`.

    Raises:
        ArtifactError: the manifest or a shard is missing, or the manifest is damaged.
    """
    manifest = open_manifest(folder, "descriptors")
    if not {"images", "descriptors", "shards", "shard"} <= manifest.facts.keys():
        raise ArtifactError(f"{folder / MANIFEST}: does not list its shards; extract again")
    missing = [name for name in manifest.facts["shards"] if not (folder / name).is_file()]
    if missing:
        raise ArtifactError(f"{folder / missing[0]}: no such file; extract again")
    return DescriptorStore(folder, manifest)
