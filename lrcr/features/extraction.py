"""Extraction of a dataset: its images × a model → a store of descriptors that a killed run continues."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd

from lrcr.config.params import Params
from lrcr.data.dataset import Dataset, Photo, cluster_ids, open_dataset
from lrcr.errors import DatasetError
from lrcr.features.extractor import Extractor, ExtractSettings
from lrcr.features.store import DescriptorStore, join, open_descriptors, read_shard, write_shard
from lrcr.models.factory import MODEL_SECTIONS
from lrcr.progress import SILENT, Progress
from lrcr.runtime.executor import Make, make_shards
from lrcr.runtime.seeds import generator
from lrcr.storage.artifacts import Manifest, require_params, staged_folder, write_manifest
from lrcr.storage.state import state_folder


def extract_dataset(
    params: Params, model_file: Path, dataset_folder: Path, folder: Path, progress: Progress = SILENT
) -> dict[str, float]:
    """Extract a dataset's database into `folder/database` and its queries into `folder/queries`.

    A query without a box that is in the database takes over the rows it has there. With
    `extract.store_descriptors: false` the database is described while it is indexed, and its store is empty.

    Returns:
        The cost: `extract_images_per_second`, of a stored database (shards that a killed run left are counted too).

    Raises:
        ArtifactError: model or dataset is missing or damaged, or the model was made under other params.
        DatasetError: the dataset has no images.
        ImageError: an image cannot be decoded.
    """
    dataset, stored, size = _open_filled(dataset_folder), params.extract.store_descriptors, params.extract.shard_size
    extractor = _open_extractor(params, model_file, ExtractSettings.of_database(params))
    photos = dataset.photos() if stored else []
    start = time.perf_counter()
    manifest = database_manifest(params, extractor.manifest, dataset)
    manifest = replace(manifest, facts={} if stored else {"stored": False})
    database = _describe_shards(manifest, _Describe(extractor), photos, size, progress)
    seconds = time.perf_counter() - start
    reused = dataset.queries["image"].where(dataset.queries["x0"].isna() & stored)
    ids = [None if pd.isna(image) else int(image) for image in reused]
    queries = list(zip(dataset.query_photos(), ids, strict=True))
    manifest = _manifest("queries", params.sections("extract"), extractor.manifest, dataset)
    described = _describe_shards(manifest, _DescribeQueries(extractor, database), queries, size, progress)
    with staged_folder(folder) as temporary:
        _move(database, temporary / "database")
        _move(described, temporary / "queries")
    return {"extract_images_per_second": len(photos) / seconds} if photos else {}


def extract_fit(
    params: Params, model_file: Path, dataset_folder: Path, folder: Path, progress: Progress = SILENT
) -> None:
    """Extract `codebook.images` images of a dataset, drawn by the seed, for learning the codebook.

    The facts of its manifest name the cluster of each image (`cluster_ids`).

    Raises:
        ArtifactError: model or dataset is missing or damaged, or the model was made under other params.
        DatasetError: the dataset has no images.
        ImageError: an image cannot be decoded.
    """
    dataset, size = _open_filled(dataset_folder), params.extract.shard_size
    extractor = _open_extractor(params, model_file, ExtractSettings.of_fit(params))
    photos = dataset.photos()
    drawn = _sample(len(photos), params.codebook.images, params.seed)
    manifest = _manifest("fit", params.fit_section(), extractor.manifest, dataset)
    manifest = replace(manifest, facts={"clusters": cluster_ids(dataset)[drawn].tolist()})
    store = _describe_shards(manifest, _Describe(extractor), [photos[image] for image in drawn], size, progress)
    with staged_folder(folder) as temporary:
        _move(store, temporary)


def database_manifest(params: Params, model: Manifest, dataset: Dataset) -> Manifest:
    """What the descriptors of a dataset's database are made from."""
    return _manifest("database", params.sections("extract"), model, dataset)


def _manifest(part: str, sections: dict[str, Any], model: Manifest, dataset: Dataset) -> Manifest:
    inputs = {"model": model.fingerprint, "dataset": dataset.fingerprint}
    return Manifest("descriptors", {"part": part, **sections}, inputs)


def sample_photos(photos: Sequence[Photo], number: int, seed: int) -> list[Photo]:
    """`number` of the photos drawn by the seed, in their order; all where there are no more."""
    return [photos[image] for image in _sample(len(photos), number, seed)]


def _sample(total: int, number: int, seed: int) -> list[int]:
    if number >= total:
        return list(range(total))
    return sorted(generator(seed, "sample").choice(total, number, replace=False).tolist())


def _open_filled(folder: Path) -> Dataset:
    dataset = open_dataset(folder)
    if dataset.images.empty:
        raise DatasetError(f"{folder}: has no images; add some")
    return dataset


def _open_extractor(params: Params, model_file: Path, settings: ExtractSettings) -> Extractor:
    extractor = Extractor(model_file, settings, params.device)
    require_params(extractor.manifest, params.sections(*MODEL_SECTIONS), model_file)
    return extractor


@dataclass(frozen=True)
class _Describe:
    """Describes photos into a shard; see `lrcr.runtime.executor.Make`."""

    extractor: Extractor

    def __call__(self, photos: Sequence[Photo], file: Path, progress: Progress) -> None:
        write_shard(file, self.extractor.describe(photos, progress))


@dataclass(frozen=True)
class _DescribeQueries:
    """Describes query photos into a shard; those with the id of an image are read from the database's store."""

    extractor: Extractor
    database: DescriptorStore

    def __call__(self, queries: Sequence[tuple[Photo, int | None]], file: Path, progress: Progress) -> None:
        outside = [photo for photo, image in queries if image is None]
        described = self.extractor.describe(outside, progress) if outside else None
        position, parts = count(), []
        for _, image in queries:
            if described is not None and image is None:
                parts.append(described.take([next(position)]))
            elif image is not None:
                parts.append(self.database.image(image))
                progress.advance()
        write_shard(file, join(parts))


def _describe_shards(
    manifest: Manifest, make: Make, items: Sequence[Any], size: int, progress: Progress
) -> DescriptorStore:
    """Make a store shard by shard in the state folder, where the next run finds what a killed one has finished."""
    shard = min(size, len(items))
    state = state_folder(__name__, manifest.fingerprint, shard)
    files = make_shards(make, items, size, state, ".h5", progress, f"extract {manifest.params['part']}")
    rows = sum(len(read_shard(file).descriptors) for file in files)
    names = [file.name for file in files]
    facts = {**manifest.facts, "images": len(items), "descriptors": rows, "shards": names, "shard": shard}
    write_manifest(state, replace(manifest, facts=facts))
    return open_descriptors(state)


def _move(store: DescriptorStore, folder: Path) -> None:
    """Move a finished store from the state folder to where it belongs."""
    folder.mkdir(exist_ok=True)
    for file in sorted(store.folder.iterdir()):
        shutil.move(file, folder / file.name)
    store.folder.rmdir()
