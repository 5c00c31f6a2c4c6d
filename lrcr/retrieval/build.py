"""Building the index of a dataset's database, in a folder that holds everything a search needs."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from lrcr.config.params import ARCHITECTURE, Params
from lrcr.data.dataset import Dataset, open_dataset
from lrcr.data.hashes import image_hashes
from lrcr.features.store import Descriptors, DescriptorStore, Sample, open_descriptors
from lrcr.models.header import read_model_manifest
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.backend import Backend, backend_of
from lrcr.retrieval.confidence import calibrate
from lrcr.retrieval.contents import list_beside
from lrcr.retrieval.encoding import encode_shards, encode_store, encode_stored_shards, sample_of_photos
from lrcr.retrieval.images import flat_boxes, images_of, write_images
from lrcr.retrieval.layout import CODEBOOK, IMAGES, MODEL, PARAMS
from lrcr.retrieval.local import write_local
from lrcr.retrieval.local_encoder import local_encoder
from lrcr.runtime.executor import choose_executor
from lrcr.runtime.shares import own_share, refuse_share
from lrcr.storage.artifacts import (
    Manifest,
    open_manifest,
    require_input,
    require_params,
    staged_folder,
    write_json,
    write_manifest,
)
from lrcr.storage.state import state_folder

_NOT_STORED = {"threads", "executor", "datasets", "data", "train", "search", "rerank"}
"""Params that are not stored in an index: those of this process, of datasets and training, and of the search."""

_OF_MODELS = {*ARCHITECTURE, "extract"}
"""Params that are not stored in an index without a model either."""


def index_dataset(
    params: Params,
    model_file: Path | None,
    dataset_folder: Path,
    descriptors_folder: Path,
    codebook_folder: Path,
    folder: Path,
    progress: Progress = SILENT,
) -> None:
    """Build the index of a dataset's database, together with everything that a search needs.

    With `extract.store_descriptors: false` the database is extracted here, shard by shard, and its descriptors are not
    stored; a run after a kill reuses the finished shards.

    Args:
        model_file: None: the descriptors are the user's own (`lrcr.retrieval.own`), and the index holds no model.

    Raises:
        ArtifactError: an input is damaged, or the inputs were made from different models or datasets.
        ImageError: an image cannot be decoded.
    """
    dataset = open_dataset(dataset_folder)
    store = open_descriptors(descriptors_folder / "database")
    codebook = open_manifest(codebook_folder, "codebook")
    model = store.manifest.inputs["model"]
    if model_file is not None:
        manifest = read_model_manifest(model_file)
        require_params(manifest, params.sections("model"), model_file)
        model = manifest.fingerprint
    require_params(store.manifest, params.sections("extract"), descriptors_folder)
    require_params(codebook, params.sections("codebook"), codebook_folder)
    require_input(store.manifest, "model", model, descriptors_folder)
    require_input(store.manifest, "dataset", dataset.fingerprint, descriptors_folder)
    if params.learns_codebook:
        require_input(codebook, "model", model, codebook_folder)
    inputs = {
        "model": model,
        "dataset": dataset.fingerprint,
        "codebook": codebook.fingerprint,
        "descriptors": store.manifest.fingerprint,
    }
    params = _as_computed(params, store)
    backend = backend_of(params, codebook_folder)
    if model_file is not None and not store.stored:
        encoded = _from_photos(params, backend, model_file, dataset, codebook, progress)
    elif params.executor == "ray":
        encoded = _from_store_shared(params, backend, store, dataset, codebook, progress)
    else:
        encoded = _from_store(backend, store, dataset, progress)
    with encoded as (build, sample), staged_folder(folder) as temporary:
        build(len(dataset.images), sample, temporary, inputs)
        images = images_of(dataset, image_hashes(dataset_folder)).assign(regions=_regions(dataset, params))
        complete_index(temporary, params, model_file, codebook_folder, images, dataset.root, store.shards())


def complete_index(
    folder: Path,
    params: Params,
    model_file: Path | None,
    codebook_folder: Path,
    images: pd.DataFrame,
    root: Path,
    described: Iterable[Descriptors] = (),
) -> None:
    """Add to an index that a backend has built what a search needs besides, calibrate it, and list all in the manifest.

    Args:
        folder: of the index.
        params: with which it was built.
        model_file: None: the index holds no model.
        images: the table of its images (`lrcr.retrieval.images`).
        root: folder to which their paths are relative.
        described: their descriptors, which are read only if the index owns the local ones.
    """
    names, not_stored = [CODEBOOK, IMAGES, PARAMS], _NOT_STORED
    if model_file is None:
        not_stored = _NOT_STORED | _OF_MODELS
    else:
        names.append(MODEL)
        shutil.copy(model_file, folder / MODEL)
    shutil.copytree(codebook_folder, folder / CODEBOOK)
    write_images(folder / IMAGES, images)
    write_json(folder / PARAMS, params.model_dump(mode="json", exclude=not_stored))
    built = open_manifest(folder, "index")
    facts = {
        "roots": [str(root.resolve())],
        "next_image": len(images),
        "table": IMAGES,
        "beside": list_beside(folder, names),
    }
    backend = backend_of(params, folder / CODEBOOK)
    if (encoder := local_encoder(params, backend)) is not None:
        facts["local"] = [write_local(folder / "local-0000", map(encoder.part, described), len(images), encoder)]
    manifest = replace(built, facts={**built.facts, **facts})
    confidence = calibrate(backend, folder, manifest, images["name"].tolist())
    write_manifest(folder, replace(manifest, facts={**manifest.facts, "confidence": confidence}))


def _as_computed(params: Params, store: DescriptorStore) -> Params:
    """The params with the arithmetic of the descriptors: photos that are described later, as queries, follow it."""
    compute = store.manifest.inputs.get("compute", params.extract.compute)  # the user's own descriptors have none
    extract = params.extract.model_copy(update={"compute": compute})
    return params.model_copy(update={"extract": extract})


class _Build(Protocol):
    """`Backend.build` or `Backend.build_shared` of given parts."""

    def __call__(self, images: int, sample: Sample, folder: Path, inputs: dict[str, str], /) -> None: ...


@contextmanager
def _from_store(
    backend: Backend[Any], store: DescriptorStore, dataset: Dataset, progress: Progress
) -> Iterator[tuple[_Build, Sample]]:
    """What builds the index, and the sampling function, from stored descriptors."""
    refuse_share("an index of stored descriptors")
    yield partial(backend.build, encode_store(backend, store, dataset.images["path"].tolist(), progress)), store.sample


@contextmanager
def _from_store_shared(
    params: Params,
    backend: Backend[Any],
    store: DescriptorStore,
    dataset: Dataset,
    codebook: Manifest,
    progress: Progress,
) -> Iterator[tuple[_Build, Sample]]:
    """As `_from_store`, by an executor."""
    executor, names = choose_executor(params.executor), dataset.images["path"].tolist()
    with _state(params, store.manifest, codebook, int(store.manifest.facts["shard"])) as state:
        files = encode_stored_shards(backend, store, names, state, progress, executor)
        yield partial(backend.build_shared, files, executor=executor, progress=progress), store.sample


@contextmanager
def _from_photos(
    params: Params, backend: Backend[Any], model_file: Path, dataset: Dataset, codebook: Manifest, progress: Progress
) -> Iterator[tuple[_Build, Sample]]:
    """What builds the index, and the sampling function, from photos."""
    from lrcr.features.extraction import database_manifest  # imports torch
    from lrcr.features.extractor import Extractor, ExtractSettings
    from lrcr.features.regions import database_photos

    extractor = Extractor(model_file, ExtractSettings.of_database(params), params.device)
    photos, size = database_photos(dataset, params.extract), params.extract.shard_size
    executor = choose_executor(params.executor, params.device)
    with _state(params, database_manifest(params, extractor, dataset), codebook, size) as state:
        files = encode_shards(backend, extractor, photos, size, state, progress, executor)
        build: _Build = partial(backend.build, map(backend.read_part, progress.over(files, "index")))
        if params.executor == "ray":
            build = partial(backend.build_shared, files, executor=choose_executor(params.executor), progress=progress)
        yield build, partial(sample_of_photos, extractor, photos)


def _state(params: Params, descriptors: Manifest, codebook: Manifest, size: int) -> AbstractContextManager[Path]:
    """The folder for unfinished work."""
    identity = (descriptors.fingerprint, codebook.fingerprint, params.sections("index"), size)
    return state_folder(__name__, *identity, shared=own_share() is not None)


def _regions(dataset: Dataset, params: Params) -> pd.Series | None:
    """The column `regions` of the table of images; None: the images have no regions."""
    if params.extract.regions == "none":
        return None
    from lrcr.features.regions import database_photos  # imports torch

    return flat_boxes(photo.regions for photo in database_photos(dataset, params.extract))
