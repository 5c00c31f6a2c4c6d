"""Descriptors → codebook → index: what stands between extraction and search."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from lrcr.config.params import Params
from lrcr.data.dataset import Dataset, open_dataset
from lrcr.errors import ArtifactError
from lrcr.features.extraction import Extractor
from lrcr.features.store import DescriptorStore, Sample, open_descriptors
from lrcr.models.file import read_model_file
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.backend import engine_of
from lrcr.retrieval.encoding import reduce_photos, reduce_store, sample_of_photos
from lrcr.storage.artifacts import (
    Manifest,
    fingerprint,
    hash_file,
    open_manifest,
    require_input,
    require_params,
    staged_folder,
    state_folder,
    write_json,
)

MODEL, CODEBOOK, IMAGES, PARAMS = "model.pt", "codebook", "images.parquet", "params.json"
"""What lies in an index folder beside the index proper, so that a search needs nothing else."""


def make_codebook(params: Params, fit_folder: Path, folder: Path, progress: Progress = SILENT) -> None:
    """Learn the codebook from the fit set's descriptors, where there is anything to learn, or take `codebook.file`.

    Raises:
        ArtifactError: the descriptors were made under other params, or the file holds no codebook.
    """
    settings, manifest = params.codebook, Manifest("codebook", params.sections("codebook"), {})
    if settings.file is not None:
        if not Path(settings.file).is_file():
            raise ArtifactError(f"codebook.file: {settings.file}: no such file; name an .npz file")
        manifest = replace(manifest, inputs={"file": hash_file(Path(settings.file))})
    store = open_descriptors(fit_folder) if params.learns_codebook else None
    if store is not None:
        require_params(store.manifest, params.fit_section(), fit_folder)
        inputs = {"model": store.manifest.inputs["model"], "descriptors": store.manifest.fingerprint}
        manifest = replace(manifest, inputs=inputs)
    with staged_folder(folder) as temporary:
        engine_of(params).learn(params, store, temporary, manifest, progress)


def index_dataset(
    params: Params,
    model_file: Path,
    dataset_folder: Path,
    descriptors_folder: Path,
    codebook_folder: Path,
    folder: Path,
    progress: Progress = SILENT,
) -> None:
    """Build the index of a dataset's database, with everything beside it that a search needs.

    With `extract.keep: false` the database is described here, and its descriptors are dropped shard by shard; what a
    killed run has finished the next one finds.

    Raises:
        ArtifactError: an input is damaged, or was made from another model or dataset than the others.
        ImageError: an image cannot be decoded.
    """
    _, model = read_model_file(model_file)
    dataset = open_dataset(dataset_folder)
    codebook = open_manifest(codebook_folder, "codebook")
    store = open_descriptors(descriptors_folder / "database")
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
    made = _from_store(params, store, dataset, codebook_folder, progress)
    if not store.kept:
        made = _from_photos(params, model_file, dataset, codebook_folder, codebook.fingerprint, progress)
    with made as (parts, sample), staged_folder(folder) as temporary:
        engine_of(params).build(params, codebook_folder, parts, len(dataset.images), sample, temporary, inputs)
        shutil.copy(model_file, temporary / MODEL)
        shutil.copytree(codebook_folder, temporary / CODEBOOK)
        _locate_images(dataset).to_parquet(temporary / IMAGES, index=False)
        write_json(temporary / PARAMS, params.model_dump(mode="json"))


@contextmanager
def _from_store(
    params: Params, store: DescriptorStore, dataset: Dataset, codebook_folder: Path, progress: Progress
) -> Iterator[tuple[Iterator[Any], Sample]]:
    """The parts of the index and what draws a sample, of descriptors that were kept."""
    names = dataset.images["path"].tolist()
    yield reduce_store(params, store, codebook_folder, names, progress), store.sample


@contextmanager
def _from_photos(
    params: Params, model_file: Path, dataset: Dataset, codebook_folder: Path, codebook: str, progress: Progress
) -> Iterator[tuple[Iterator[Any], Sample]]:
    """The parts of the index and what draws a sample, of photos; `codebook` is its fingerprint."""
    extractor, photos = Extractor(params, model_file), dataset.photos()
    described = extractor.manifest(dataset, "database").fingerprint
    state = state_folder(fingerprint("parts", described, codebook, params.sections("index"), params.extract.shard))
    yield (
        reduce_photos(extractor, photos, codebook_folder, state, progress),
        partial(sample_of_photos, extractor, photos),
    )
    shutil.rmtree(state)


def _locate_images(dataset: Dataset) -> pd.DataFrame:
    """The table of images with their names, and with absolute paths of files and archives."""
    root, own = dataset.root.resolve(), dataset.images
    archives = own["archive"].map(lambda archive: str(root / archive), na_action="ignore")
    paths = own["path"].map(lambda path: str((root / path).resolve())).where(archives.isna(), own["path"])
    return own.assign(path=paths, archive=archives, name=own["path"])
