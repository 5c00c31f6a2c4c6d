"""The parts of an index, shard by shard: encoded from stored descriptors, or directly from photos.

The latter is for collections whose descriptors would not fit on the disk: the descriptors of a shard are extracted,
encoded by the backend (as postings or vectors) and discarded; the encoded part takes a thirtieth of their space. Both
ways give the same parts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lrcr.data.dataset import Photo
from lrcr.features.store import DescriptorStore, read_shard
from lrcr.progress import Progress
from lrcr.retrieval.backend import Backend
from lrcr.retrieval.local import read_local_part, write_local_part
from lrcr.retrieval.local_encoder import LocalEncoder, LocalPart
from lrcr.runtime.executor import make_shards
from lrcr.runtime.jobs import Executor

if TYPE_CHECKING:
    from lrcr.features.extractor import Extractor

_LOCAL = ".local.npz"
_SAMPLED = 20  # photos from which a sample of descriptors is drawn if descriptors are not stored


def encode_store(
    backend: Backend[Any], store: DescriptorStore, names: Sequence[str], progress: Progress
) -> Iterator[Any]:
    """Encode stored descriptors: one part for each shard.

    Args:
        names: of the images, for error messages.

    Raises:
        ArtifactError: the codebook or a shard is damaged, or they do not fit each other.
    """
    first = 0
    for shard in progress.over(store.shards(), "index", len(store.manifest.facts["shards"])):
        yield backend.encode(shard, names[first : first + len(shard)])
        first += len(shard)


def encode_stored_shards(
    backend: Backend[Any],
    store: DescriptorStore,
    names: Sequence[str],
    state: Path,
    progress: Progress,
    executor: Executor,
) -> list[Path]:
    """Encode stored descriptors as `encode_store`, in files: one for each shard.

    Args:
        state: folder for the files, as that of `encode_shards`.

    Raises:
        ArtifactError: as `encode_store`.
    """
    size, shards = int(store.manifest.facts["shard"]), store.manifest.facts["shards"]
    items = [(store.folder / name, names[k * size : (k + 1) * size]) for k, name in enumerate(shards)]
    return make_shards(_EncodeStored(backend), items, 1, state, ".npz", progress, "encode", executor)


def encode_photos(
    backend: Backend[Any],
    extractor: "Extractor",
    photos: Sequence[Photo],
    shard_size: int,
    state: Path,
    progress: Progress,
    local: LocalEncoder | None = None,
) -> Iterator[Any]:
    """Extract and encode photos on this machine, when the first part is read; see `encode_shards`.

    Args:
        local: encodes the local descriptors, which are kept in the folder `state` too, for `kept_local`.
    """
    make = _Encode(backend, extractor, local)
    files = make_shards(make, photos, shard_size, state, ".npz", progress, "extract and encode")
    for file in progress.over(files, "index"):
        yield backend.read_part(file)


def encode_shards(
    backend: Backend[Any],
    extractor: "Extractor",
    photos: Sequence[Photo],
    shard_size: int,
    state: Path,
    progress: Progress,
    executor: Executor,
) -> list[Path]:
    """Extract and encode photos: one file for each `shard_size` photos. The descriptors are not stored.

    Args:
        state: folder for the files, which hold what `Backend.read_part` reads; the caller removes it after the index
            is built.

    Raises:
        ArtifactError: the codebook is damaged or does not fit the model.
        ImageError: a photo cannot be decoded.
        ShareMade: see `lrcr.runtime.jobs.Executor`.
    """
    make = _Encode(backend, extractor)
    return make_shards(make, photos, shard_size, state, ".npz", progress, "extract and encode", executor)


def kept_local(state: Path) -> Iterator[LocalPart]:
    """The local descriptors that `encode_photos` has kept in a folder, once it has given its last part."""
    for file in sorted(state.glob(f"*{_LOCAL}")):
        yield read_local_part(file)


def sample_of_photos(
    extractor: "Extractor", photos: Sequence[Photo], count: int, rng: np.random.Generator
) -> npt.NDArray[np.floating]:
    """At most `count` descriptors, of shape (N, D), drawn at random from those of a few random photos."""
    drawn = np.sort(rng.permutation(len(photos))[:_SAMPLED])
    descriptors = extractor.describe([photos[image] for image in drawn]).descriptors
    sample: npt.NDArray[np.floating] = descriptors[np.sort(rng.permutation(len(descriptors))[:count])]
    return sample


@dataclass(frozen=True)
class _Encode:
    """Writes the part of some photos; see `lrcr.runtime.jobs.Make`."""

    backend: Backend[Any]
    extractor: "Extractor"
    local: LocalEncoder | None = None

    def __call__(self, photos: Sequence[Photo], file: Path, progress: Progress) -> None:
        names = [str(photo.path) for photo in photos]
        described = self.extractor.describe(photos, progress)
        if self.local is not None:  # before the part, which says that the shard is finished
            write_local_part(file.with_suffix(_LOCAL), self.local.part(described))
        self.backend.write_part(file, self.backend.encode(described, names))


@dataclass(frozen=True)
class _EncodeStored:
    """Writes the part of a shard, which is given with the names of its images; see `lrcr.runtime.jobs.Make`."""

    backend: Backend[Any]

    def __call__(self, shards: Sequence[tuple[Path, Sequence[str]]], file: Path, progress: Progress) -> None:
        [(shard, names)] = shards
        self.backend.write_part(file, self.backend.encode(read_shard(shard), names))
        progress.advance()
