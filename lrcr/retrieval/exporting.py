"""What an index or a store of descriptors holds of its images, one image after the other, for other programs."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pandas as pd

from lrcr.data.dataset import Dataset
from lrcr.errors import ArtifactError
from lrcr.features.exchange import Array, ImageFeatures
from lrcr.features.store import open_descriptors
from lrcr.retrieval.searcher import Searcher


def features_of_index(searcher: Searcher) -> Iterator[ImageFeatures]:
    """The vector, or the local descriptors, of each image of an index, as it stores them.

    Local descriptors are unit vectors in float16; codes of them are not given.

    Raises:
        ArtifactError: the index holds visual words, or words and codes, from which descriptors cannot be restored.
    """
    named, local = _named(searcher.images), searcher.local
    if local is not None and not local.encoder.binary:
        for part in local.parts():
            for first, last in pairwise(part.offsets):
                name, width, height = next(named)
                arrays: dict[str, Array] = {"descriptors": part.descriptors[first:last], "xy": part.xy[first:last]}
                yield ImageFeatures(name, width, height, arrays)
    elif searcher.index.explains:
        stored = "visual words" if local is None else "codes"
        raise ArtifactError(
            f"{searcher.folder}: holds no descriptors, only their {stored}; build it with "
            "index.local_descriptors: float16"
        )
    else:
        for vectors in searcher.index.stored_queries():
            for vector, (name, width, height) in zip(vectors, named, strict=False):
                yield ImageFeatures(name, width, height, {"vector": vector})


def features_of_store(folder: Path, dataset: Dataset) -> Iterator[ImageFeatures]:
    """The descriptors of each database image of a store, as they were extracted; those of regions are left out.

    Args:
        folder: of an extracted database.
        dataset: that was extracted; it has the names of the images.

    Raises:
        ArtifactError: the store is damaged or holds no descriptors, or is not the database of this dataset.
    """
    store = open_descriptors(folder)
    part, source = store.manifest.params.get("part"), store.manifest.inputs.get("dataset")
    if (part, source) != ("database", dataset.fingerprint):
        raise ArtifactError(f"{folder}: not the database of the dataset {dataset.name}; name the one of this dataset")
    if not store.stored:
        raise ArtifactError(f"{folder}: holds no descriptors; set extract.store_descriptors to true and extract again")
    named = _named(dataset.images, "path")
    for shard in store.shards():
        whole = shard.whole_images()
        for image in range(len(whole)):
            one, (name, width, height) = whole.take([image]), next(named)
            arrays = {"descriptors": one.descriptors, "xy": one.xy, "strength": one.strength, "scale": one.scale}
            vector = {} if one.vectors is None else {"vector": one.vectors[0]}
            yield ImageFeatures(name, width, height, {**arrays, **vector})


def _named(images: pd.DataFrame, column: str = "name") -> Iterator[tuple[str, int, int]]:
    """Name, width and height of each image of a table."""
    for name, width, height in images[[column, "width", "height"]].itertuples(index=False, name=None):
        yield str(name), int(width), int(height)
