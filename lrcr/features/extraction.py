"""Images × model → descriptors: multi-scale, in batches, into a store that a killed run continues."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from lrcr.config.params import Params
from lrcr.data.dataset import Dataset, Photo, cluster_ids, open_dataset
from lrcr.data.loading import Batch, load_batches
from lrcr.errors import DatasetError
from lrcr.features.store import Descriptors, DescriptorStore, join, open_descriptors, read_shard, write_shard
from lrcr.models.descriptors import Describer, ImageDescriptors
from lrcr.models.factory import MODEL_SECTIONS, open_model
from lrcr.models.inference import ready_for_inference
from lrcr.progress import SILENT, Progress
from lrcr.runtime.device import explain_out_of_memory, resolve_device
from lrcr.runtime.executor import Make, make_shards
from lrcr.runtime.seeds import generator
from lrcr.storage.artifacts import Manifest, fingerprint, require_params, staged_folder, state_folder, write_manifest

_BATCH = 8


@explain_out_of_memory("lower extract.image_size, or the largest of the scales")
@torch.inference_mode()
def extract_photos(
    model: Describer,
    photos: Sequence[Photo],
    *,
    image_size: int,
    scales: Sequence[float],
    strongest: int,
    device: torch.device,
    precision: str = "float32",
    progress: Progress = SILENT,
) -> Descriptors:
    """The `strongest` descriptors of each photo (at least one photo), in memory.

    Args:
        model: in evaluation mode, on `device`.
        image_size: longest side in pixels; nothing is enlarged.
        precision: float32 or float16, of the descriptors.
        tick: called once a photo, to show progress.

    Raises:
        ImageError: a photo cannot be decoded.
        OutOfMemoryError: the memory does not suffice.
    """
    found: dict[int, Descriptors] = {}
    for batch in load_batches(photos, image_size, _BATCH):
        images = batch.images.to(device, memory_format=torch.channels_last)
        described = model.describe(images, scales, strongest)
        for i, local in enumerate(described):
            found[batch.positions[i]] = _to_original_pixels(local, batch, i, precision)
            task.advance()
    return join([found[position] for position in range(len(photos))])


def _to_original_pixels(local: ImageDescriptors, batch: Batch, i: int, precision: str) -> Descriptors:
    xy = local.position.cpu().numpy() * np.array(batch.sizes[i], np.float32)
    xy += np.array(batch.origins[i], np.float32)
    return Descriptors(
        descriptors=local.descriptors.cpu().numpy().astype(precision),
        strength=local.strength.cpu().numpy(),
        xy=xy,
        scale=local.scale.cpu().numpy(),
        offsets=np.array([0, len(xy)], np.int64),
    )


class Extractor:
    """A model and the settings under which it describes photos.

    Args:
        params: device, extract and codebook sections; the model's own sections must be those it was made with.
        model_file: as `lrcr.models.factory.save_model` wrote it.

    Raises:
        ArtifactError: the model is missing, damaged or was made under other params.
    """

    def __init__(self, params: Params, model_file: Path) -> None:
        self.params = params
        self.model_file = model_file
        self.device = resolve_device(params.device)
        model, self.model_manifest = open_model(model_file)
        require_params(self.model_manifest, params.sections(*MODEL_SECTIONS), model_file)
        self.model = ready_for_inference(model, self.device)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled it is what it was made from: a worker opens the model again."""
        return Extractor, (self.params, self.model_file)

    def describe(self, photos: Sequence[Photo], progress: Progress = SILENT) -> Descriptors:
        """Describe photos as a database is described."""
        extract = self.params.extract
        return extract_photos(
            self.model,
            photos,
            image_size=extract.image_size,
            scales=self.params.scales,
            strongest=extract.descriptors,
            device=self.device,
            precision=extract.precision,
            progress=task,
        )

    def describe_fit(self, photos: Sequence[Photo], progress: Progress = SILENT) -> Descriptors:
        """Describe photos for learning the codebook."""
        codebook = self.params.codebook
        return extract_photos(
            self.model,
            photos,
            image_size=self.params.extract.image_size,
            scales=self.params.fit_scales,
            strongest=codebook.descriptors,
            device=self.device,
            progress=task,
        )

    def manifest(self, dataset: Dataset, part: str) -> Manifest:
        """What the descriptors of this part (database, queries or fit) are made from."""
        sections = self.params.fit_section() if part == "fit" else self.params.sections("extract")
        inputs = {"model": self.model_manifest.fingerprint, "dataset": dataset.fingerprint}
        return Manifest("descriptors", {"part": part, **sections}, inputs)


def extract_dataset(
    params: Params, model_file: Path, dataset_folder: Path, folder: Path, progress: Progress = SILENT
) -> dict[str, float]:
    """Extract a dataset's database into `folder/database` and its queries into `folder/queries`.

    A query without a box that is in the database takes over the rows it has there. With `extract.keep: false` the
    database is left to the index, and its store is empty.

    Returns:
        The cost: `extract_images_per_second`, of a database that is kept (shards that a killed run left count as well).

    Raises:
        ArtifactError: model or dataset is missing or damaged.
        DatasetError: the dataset has no images.
        ImageError: an image cannot be decoded.
    """
    dataset = _open_filled(dataset_folder)
    extractor = Extractor(params, model_file)
    photos, shard = dataset.photos() if params.extract.keep else [], params.extract.shard
    start = time.perf_counter()
    describe = partial(_describe, extractor)
    manifest = replace(extractor.manifest(dataset, "database"), facts={} if params.extract.keep else {"kept": False})
    database = _describe_shards(manifest, describe, photos, shard, progress)
    seconds = time.perf_counter() - start
    reused = dataset.queries["image"].where(dataset.queries["x0"].isna() & params.extract.keep)
    ids = [None if pd.isna(image) else int(image) for image in reused]
    queries = list(zip(dataset.query_photos(), ids, strict=True))
    describe = partial(_describe_queries, extractor, database)
    asked = _describe_shards(extractor.manifest(dataset, "queries"), describe, queries, shard, progress)
    with staged_folder(folder) as temporary:
        _move(database, temporary / "database")
        _move(asked, temporary / "queries")
    return {"extract_images_per_second": len(photos) / seconds} if photos else {}


def extract_fit(
    params: Params, model_file: Path, dataset_folder: Path, folder: Path, progress: Progress = SILENT
) -> None:
    """Extract `codebook.images` images of a dataset, drawn by the seed, for learning the codebook.

    The facts of its manifest tell the cluster of each image (`cluster_ids`).

    Raises:
        ArtifactError: model or dataset is missing or damaged.
        DatasetError: the dataset has no images.
        ImageError: an image cannot be decoded.
    """
    dataset = _open_filled(dataset_folder)
    extractor = Extractor(params, model_file)
    every = dataset.photos()
    drawn = _sample(len(every), params.codebook.images, params.seed)
    photos = [every[image] for image in drawn]
    manifest = replace(extractor.manifest(dataset, "fit"), facts={"clusters": cluster_ids(dataset)[drawn].tolist()})
    store = _describe_shards(manifest, partial(_describe_fit, extractor), photos, params.extract.shard, progress)
    with staged_folder(folder) as temporary:
        _move(store, temporary)


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


def _describe(extractor: Extractor, photos: Sequence[Photo], file: Path, progress: Progress) -> None:
    write_shard(file, extractor.describe(photos, tick))


def _describe_fit(extractor: Extractor, photos: Sequence[Photo], file: Path, progress: Progress) -> None:
    write_shard(file, extractor.describe_fit(photos, tick))


def _describe_queries(
    extractor: Extractor,
    store: DescriptorStore,
    queries: Sequence[tuple[Photo, int | None]],
    file: Path,
    progress: Progress,
) -> None:
    """Describe query photos; those with the id of an image are read from the database's store."""
    own = [photo for photo, image in queries if image is None]
    described = extractor.describe(own, tick) if own else None
    position, parts = count(), []
    for _, image in queries:
        if described is not None and image is None:
            parts.append(described.take([next(position)]))
        elif image is not None:
            parts.append(store.image(image))
            task.advance()
    write_shard(file, join(parts))


def _describe_shards(
    manifest: Manifest, make: Make, items: Sequence[Any], size: int, progress: Progress
) -> DescriptorStore:
    """Make a store shard by shard in the state folder, where the next run finds what a killed one has finished."""
    shard = min(size, len(items))
    state = state_folder(fingerprint(manifest.fingerprint, shard))
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
