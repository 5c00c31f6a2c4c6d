"""What an index holds of each image, shard by shard: made from stored descriptors, or from photos without storing any.

The latter is for collections whose descriptors would fill a disk. The photos of each shard are described, encoded as
what the backend holds of them (postings, vectors) and stored as that, a thirtieth as large; the descriptors are
dropped. The parts are the same in both ways.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.data.dataset import Photo
from lrcr.features.extractor import Extractor
from lrcr.features.store import DescriptorStore
from lrcr.progress import Progress
from lrcr.retrieval.backend import Backend
from lrcr.runtime.executor import make_shards

_SAMPLED = 20  # photos that a sample of descriptors is drawn from where none are stored


def encode_store(
    backend: Backend[Any], store: DescriptorStore, names: Sequence[str], progress: Progress
) -> Iterator[Any]:
    """The parts of an index, of stored descriptors.

    Args:
        names: of the images, for error messages.

    Raises:
        ArtifactError: codebook or descriptors are damaged, or do not fit each other.
    """
    first = 0
    for shard in progress.over(store.shards(), "index", len(store.manifest.facts["shards"])):
        yield backend.encode(shard, names[first : first + len(shard)])
        first += len(shard)


def encode_photos(
    backend: Backend[Any],
    extractor: Extractor,
    photos: Sequence[Photo],
    shard_size: int,
    state: Path,
    progress: Progress,
) -> Iterator[Any]:
    """The parts of an index, of photos whose descriptors are dropped.

    Args:
        shard_size: photos of a part.
        state: the folder in which finished parts wait for the index; the caller removes it.

    Raises:
        ArtifactError: the codebook is damaged or does not fit the model.
        ImageError: a photo cannot be decoded.
    """
    make = _Encode(backend, extractor)
    files = make_shards(make, photos, shard_size, state, ".npz", progress, "extract and encode")
    for file in progress.over(files, "index"):
        yield backend.read_part(file)


def sample_of_photos(
    extractor: Extractor, photos: Sequence[Photo], most: int, rng: np.random.Generator
) -> npt.NDArray[np.floating]:
    """At most `most` descriptors, of shape (N, D), of a few photos drawn from all."""
    drawn = np.sort(rng.permutation(len(photos))[:_SAMPLED])
    descriptors = extractor.describe([photos[image] for image in drawn]).descriptors
    chosen: npt.NDArray[np.floating] = descriptors[np.sort(rng.permutation(len(descriptors))[:most])]
    return chosen


@dataclass(frozen=True)
class _Encode:
    """Makes a part of photos; see `lrcr.runtime.executor.Make`."""

    backend: Backend[Any]
    extractor: Extractor

    def __call__(self, photos: Sequence[Photo], file: Path, progress: Progress) -> None:
        names = [str(photo.path) for photo in photos]
        self.backend.write_part(file, self.backend.encode(self.extractor.describe(photos, progress), names))
