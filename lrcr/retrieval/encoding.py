"""What an index holds of each image, shard by shard: made from stored descriptors, or from photos without storing any.

The latter is for collections whose descriptors no disk would hold. Each shard's photos are described, reduced to what
the engine keeps of them (postings, vectors) and stored as that, a thirtieth as large; the descriptors are dropped. The
parts are the same in both ways.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.config.params import Params
from lrcr.data.dataset import Photo
from lrcr.features.extraction import Extractor
from lrcr.features.store import Descriptors, DescriptorStore
from lrcr.progress import Progress
from lrcr.retrieval.backend import engine_of
from lrcr.runtime.executor import make_shards

_SAMPLED = 20  # photos that a sample of descriptors is drawn from where none are stored


def reduce_store(
    params: Params, store: DescriptorStore, codebook_folder: Path, names: Sequence[str], progress: Progress
) -> Iterator[Any]:
    """The parts of an index, of stored descriptors.

    Args:
        names: of the images, for error messages.

    Raises:
        ArtifactError: codebook or descriptors are damaged, or do not fit each other.
    """
    reduce, first = engine_of(params).reduce(params, codebook_folder), 0
    for shard in progress.over(store.shards(), "index", len(store.manifest.facts["shards"])):
        yield reduce(shard, names[first : first + len(shard)])
        first += len(shard)


def reduce_photos(
    extractor: Extractor, photos: Sequence[Photo], codebook_folder: Path, state: Path, progress: Progress
) -> Iterator[Any]:
    """The parts of an index, of photos whose descriptors are dropped.

    Args:
        state: the folder in which finished parts wait for the index; whoever calls removes it.

    Raises:
        ArtifactError: the codebook is damaged or does not fit the model.
        ImageError: a photo cannot be decoded.
    """
    params = extractor.params
    make = _Reducer(extractor, codebook_folder)
    files = make_shards(make, photos, params.extract.shard, state, ".npz", progress, "extract and reduce")
    for file in progress.over(files, "index", len(files)):
        yield engine_of(params).read_part(file)


def sample_of_photos(
    extractor: Extractor, photos: Sequence[Photo], most: int, rng: np.random.Generator
) -> npt.NDArray[np.floating]:
    """At most `most` descriptors, of shape (N, D), of a few photos drawn from all."""
    drawn = np.sort(rng.permutation(len(photos))[:_SAMPLED])
    descriptors = extractor.describe([photos[image] for image in drawn]).descriptors
    chosen: npt.NDArray[np.floating] = descriptors[np.sort(rng.permutation(len(descriptors))[:most])]
    return chosen


@dataclass(frozen=True)
class _Reducer:
    """Makes a part of photos; see `lrcr.runtime.executor.Make`."""

    extractor: Extractor
    codebook_folder: Path

    @cached_property
    def _reduce(self) -> Callable[[Descriptors, Sequence[str]], Any]:
        params = self.extractor.params
        return engine_of(params).reduce(params, self.codebook_folder)

    def __call__(self, photos: Sequence[Photo], file: Path, progress: Progress) -> None:
        names = [str(photo.path) for photo in photos]
        part = self._reduce(self.extractor.describe(photos, tick), names)
        engine_of(self.extractor.params).write_part(file, part)
