"""Building the index of a dataset's database, in a folder that holds everything a search needs."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from lrcr.config.params import Params
from lrcr.data.dataset import Dataset, open_dataset
from lrcr.features.store import DescriptorStore, Sample, open_descriptors
from lrcr.models.header import read_model_manifest
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.backend import Backend, backend_of
from lrcr.retrieval.encoding import encode_photos, encode_store, sample_of_photos
from lrcr.retrieval.layout import CODEBOOK, IMAGES, LOCAL, MODEL, PARAMS
from lrcr.retrieval.local import write_local
from lrcr.storage.artifacts import Manifest, open_manifest, require_input, require_params, staged_folder, write_json
from lrcr.storage.state import state_folder

_NOT_STORED = {"threads", "datasets", "data", "train", "search", "rerank"}
"""Params that are not stored in an index: those of this process, of datasets and training, and of the search."""


def index_dataset(
    params: Params,
    model_file: Path,
    dataset_folder: Path,
    descriptors_folder: Path,
    codebook_folder: Path,
    folder: Path,
    progress: Progress = SILENT,
) -> None:
    """Build the index of a dataset's database, together with everything that a search needs.

    With `extract.store_descriptors: false` the database is extracted here, shard by shard, and its descriptors are not
    stored; a run after a kill reuses the finished shards.

    Raises:
        ArtifactError: an input is damaged, or the inputs were made from different models or datasets.
        ImageError: an image cannot be decoded.
    """
    model = read_model_manifest(model_file)
    dataset = open_dataset(dataset_folder)
    store = open_descriptors(descriptors_folder / "database")
    codebook = open_manifest(codebook_folder, "codebook")
    require_params(model, params.sections("model"), model_file)
    require_params(store.manifest, params.sections("extract"), descriptors_folder)
    require_params(codebook, params.sections("codebook"), codebook_folder)
    require_input(store.manifest, "model", model.fingerprint, descriptors_folder)
    require_input(store.manifest, "dataset", dataset.fingerprint, descriptors_folder)
    if params.learns_codebook:
        require_input(codebook, "model", model.fingerprint, codebook_folder)
    inputs = {
        "model": model.fingerprint,
        "dataset": dataset.fingerprint,
        "codebook": codebook.fingerprint,
        "descriptors": store.manifest.fingerprint,
    }
    params = _as_computed(params, store)
    backend = backend_of(params, codebook_folder)
    encoded = _from_store(backend, store, dataset, progress)
    if not store.stored:
        encoded = _from_photos(params, backend, model_file, dataset, codebook, progress)
    with encoded as (parts, sample), staged_folder(folder) as temporary:
        backend.build(parts, len(dataset.images), sample, temporary, inputs)
        shutil.copy(model_file, temporary / MODEL)
        shutil.copytree(codebook_folder, temporary / CODEBOOK)
        _locate_images(dataset).to_parquet(temporary / IMAGES, index=False)
        if params.index.local_descriptors != "none":
            rows = int(store.manifest.facts["descriptors"])
            write_local(temporary / LOCAL, store.shards(), rows, inputs)
        write_json(temporary / PARAMS, params.model_dump(mode="json", exclude=_NOT_STORED))


def _as_computed(params: Params, store: DescriptorStore) -> Params:
    """The params with the arithmetic of the descriptors: photos that are described later, as queries, follow it."""
    extract = params.extract.model_copy(update={"compute": store.manifest.inputs["compute"]})
    return params.model_copy(update={"extract": extract})


@contextmanager
def _from_store(
    backend: Backend[Any], store: DescriptorStore, dataset: Dataset, progress: Progress
) -> Iterator[tuple[Iterator[Any], Sample]]:
    """The parts of the index and the sampling function, from stored descriptors."""
    yield encode_store(backend, store, dataset.images["path"].tolist(), progress), store.sample


@contextmanager
def _from_photos(
    params: Params, backend: Backend[Any], model_file: Path, dataset: Dataset, codebook: Manifest, progress: Progress
) -> Iterator[tuple[Iterator[Any], Sample]]:
    """The parts of the index and the sampling function, from photos."""
    from lrcr.features.extraction import database_manifest  # imports torch
    from lrcr.features.extractor import Extractor, ExtractSettings

    extractor = Extractor(model_file, ExtractSettings.of_database(params), params.device)
    photos, size = dataset.photos(), params.extract.shard_size
    descriptors = database_manifest(params, extractor, dataset).fingerprint
    state = state_folder(__name__, descriptors, codebook.fingerprint, params.sections("index"), size)
    parts = encode_photos(backend, extractor, photos, size, state, progress)
    yield parts, partial(sample_of_photos, extractor, photos)
    shutil.rmtree(state)


def _locate_images(dataset: Dataset) -> pd.DataFrame:
    """The table of images with their names, and with absolute paths of image files and archives."""
    root, table = dataset.root.resolve(), dataset.images
    archives = table["archive"].map(lambda archive: str(root / archive), na_action="ignore")
    paths = table["path"].map(lambda path: str((root / path).resolve())).where(archives.isna(), table["path"])
    return table.assign(path=paths, archive=archives, name=table["path"])
