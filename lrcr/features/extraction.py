"""Extraction of a dataset: the descriptors of its images, in a store. A killed run continues where it stopped."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd

from lrcr.config.params import MODEL_SECTIONS, Params
from lrcr.data.dataset import Dataset, Photo, cluster_ids, open_dataset
from lrcr.errors import DatasetError
from lrcr.features.extractor import Extractor, ExtractSettings
from lrcr.features.regions import database_photos
from lrcr.features.store import DescriptorStore, join, open_descriptors, shard_facts, write_shard
from lrcr.progress import SILENT, Progress
from lrcr.runtime.executor import choose_executor, make_shards
from lrcr.runtime.jobs import Executor
from lrcr.runtime.seeds import generator
from lrcr.runtime.shares import own_share
from lrcr.storage.artifacts import Manifest, fingerprint, require_params, staged_folder, write_manifest
from lrcr.storage.state import state_folder, take_finished


def extract_dataset(
    params: Params, model_file: Path, dataset_folder: Path, folder: Path, progress: Progress = SILENT
) -> dict[str, float]:
    """Extract a dataset's database into `folder/database` and its queries into `folder/queries`.

    A query without a box whose image is in the database gets the descriptors of that image. With
    `extract.store_descriptors: false` the database is extracted during indexing, and its store is empty.

    Returns:
        The cost of a stored database: `extract_images_per_second`, after a warm-up, and `extract_threads`. Shards that
        an earlier, killed run has finished count too.

    Raises:
        ArtifactError: model or dataset is missing or damaged, or the model was made under other params.
        DatasetError: the dataset has no images, or no regions, of which `extract.regions: detected` needs some.
        ImageError: an image cannot be decoded.
    """
    dataset, stored, size = _open_dataset(dataset_folder), params.extract.store_descriptors, params.extract.shard_size
    executor = choose_executor(params.executor, params.device)
    extractor = _open_extractor(params, model_file, ExtractSettings.of_database(params))
    photos = database_photos(dataset, params.extract) if stored else []
    if photos:
        extractor.describe(photos[:1])  # a warm-up, which the cost leaves out
    start = time.perf_counter()
    manifest = database_manifest(params, extractor, dataset)
    manifest = replace(manifest, facts={} if stored else {"stored": False})
    with _describe_shards(manifest, _Describe(extractor), photos, size, executor, progress) as database:
        seconds = time.perf_counter() - start
        reused = dataset.queries["image"].where(dataset.queries["x0"].isna() & stored)
        reused_ids = [None if pd.isna(image) else int(image) for image in reused]
        queries = list(zip(dataset.query_photos(), reused_ids, strict=True))
        manifest = _manifest("queries", params.sections("extract"), extractor, dataset)
        describe_queries = _DescribeQueries(extractor, database)
        with (
            _describe_shards(manifest, describe_queries, queries, size, executor, progress) as described_queries,
            staged_folder(folder) as temporary,
        ):
            _take(database, temporary / "database")
            _take(described_queries, temporary / "queries")
    if not photos:
        return {}
    return {
        "extract_images_per_second": len(photos) / seconds,
        "extract_threads": database.manifest.facts["threads"],
    }


def extract_fit(
    params: Params, model_file: Path, dataset_folder: Path, folder: Path, progress: Progress = SILENT
) -> None:
    """Extract what the codebook is learned from: a random sample of `codebook.images` images; for a whitening, all.

    The facts of the manifest list the cluster of each image (`cluster_ids`).

    Raises:
        ArtifactError: model or dataset is missing or damaged, or the model was made under other params.
        DatasetError: the dataset has no images.
        ImageError: an image cannot be decoded.
    """
    dataset, size = _open_dataset(dataset_folder), params.extract.shard_size
    extractor = _open_extractor(params, model_file, ExtractSettings.of_fit(params))
    photos = dataset.photos()
    sample = _sample(len(photos), params.fit_images, params.seed)
    manifest = _manifest("fit", params.fit_section(), extractor, dataset)
    manifest = replace(manifest, facts={"clusters": cluster_ids(dataset)[sample].tolist()})
    sampled, executor = [photos[image] for image in sample], choose_executor(params.executor, params.device)
    with (
        _describe_shards(manifest, _Describe(extractor), sampled, size, executor, progress) as store,
        staged_folder(folder) as temporary,
    ):
        _take(store, temporary)


def database_manifest(params: Params, extractor: Extractor, dataset: Dataset) -> Manifest:
    """The manifest of the descriptors of a dataset's database, without facts."""
    manifest = _manifest("database", params.sections("extract"), extractor, dataset)
    if params.extract.regions == "detected":
        manifest.inputs["regions"] = fingerprint(dataset.regions.to_dict("list"))
    return manifest


def _manifest(part: str, sections: dict[str, Any], extractor: Extractor, dataset: Dataset) -> Manifest:
    inputs = {
        "model": extractor.manifest.fingerprint,
        "dataset": dataset.fingerprint,
        "compute": extractor.settings.compute,
    }
    return Manifest("descriptors", {"part": part, **sections}, inputs)


def sample_photos(photos: Sequence[Photo], number: int, seed: int) -> list[Photo]:
    """A random sample of `number` photos, in their order; all photos if there are no more."""
    return [photos[image] for image in _sample(len(photos), number, seed)]


def _sample(total: int, number: int | None, seed: int) -> list[int]:
    if number is None or number >= total:
        return list(range(total))
    return sorted(generator(seed, "sample").choice(total, number, replace=False).tolist())


def _open_dataset(folder: Path) -> Dataset:
    """Open a dataset that has images."""
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
    """Writes the descriptors of photos into a shard; see `lrcr.runtime.jobs.Make`."""

    extractor: Extractor

    def __call__(self, photos: Sequence[Photo], file: Path, progress: Progress) -> None:
        write_shard(file, self.extractor.describe(photos, progress))


@dataclass(frozen=True)
class _DescribeQueries:
    """Writes the descriptors of queries into a shard: extracted, or read from the database's store.

    An item is a photo and the id of the database image whose descriptors are read; None: they are extracted.
    """

    extractor: Extractor
    database: DescriptorStore

    def __call__(self, queries: Sequence[tuple[Photo, int | None]], file: Path, progress: Progress) -> None:
        photos = [photo for photo, image in queries if image is None]
        extracted = self.extractor.describe(photos, progress) if photos else None
        position, parts = count(), []
        for _, image in queries:
            if extracted is not None and image is None:
                parts.append(extracted.take([next(position)]))
            elif image is not None:
                parts.append(self.database.image(image).whole_images())
                progress.advance()
        write_shard(file, join(parts))


@contextmanager
def _describe_shards(
    manifest: Manifest,
    make: "_Describe | _DescribeQueries",
    items: Sequence[Any],
    size: int,
    executor: Executor,
    progress: Progress,
) -> Iterator[DescriptorStore]:
    """Write a store shard by shard in the state folder, so that a run after a kill reuses the finished shards."""
    shared = own_share() is not None
    with state_folder(__name__, manifest.fingerprint, min(size, len(items)), shared=shared) as state:
        files = make_shards(make, items, size, state, ".h5", progress, f"extract {manifest.params['part']}", executor)
        facts = {**manifest.facts, **make.extractor.computed_on, **shard_facts(files, len(items), size)}
        write_manifest(state, replace(manifest, facts=facts))
        yield open_descriptors(state)


def _take(store: DescriptorStore, folder: Path) -> None:
    """Take the files of a finished store from the state folder into `folder`."""
    folder.mkdir(exist_ok=True)
    for file in sorted(store.folder.iterdir()):
        take_finished(file, folder / file.name)
