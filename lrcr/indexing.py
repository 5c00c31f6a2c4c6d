"""Descriptors → codebook → index: what stands between extraction and search."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from lrcr.artifacts import Manifest, hash_file, require_input, require_params, staged_folder, write_json
from lrcr.asmk import (
    Aggregated,
    Codebook,
    Layout,
    aggregate,
    build_index,
    learn_codebook,
    open_codebook,
    read_centroids,
    save_codebook,
)
from lrcr.datasets.dataset import Dataset, open_dataset
from lrcr.descriptors import Descriptors, DescriptorStore, open_descriptors
from lrcr.device import generator, resolve_device
from lrcr.errors import ArtifactError
from lrcr.models.file import read_model_file
from lrcr.params import Params
from lrcr.progress import Track, silent

MODEL, CODEBOOK, IMAGES, PARAMS = "model.pt", "codebook", "images.parquet", "params.json"
"""What lies in an index folder beside the inverted file, so that a search needs nothing else."""


def make_codebook(params: Params, fit_folder: Path, folder: Path, track: Track = silent) -> None:
    """Learn the codebook from the fit set's descriptors; with `codebook.file` take the centroids stored there.

    Of more than `codebook.per_word` descriptors a word a sample is drawn.

    Raises:
        ArtifactError: the descriptors were made under other params, or the file holds no centroids.
    """
    settings = params.codebook
    if settings.file is not None:
        codebook = read_centroids(Path(settings.file))
        inputs = {"file": hash_file(Path(settings.file))}
    else:
        store = open_descriptors(fit_folder)
        require_params(store.manifest, params.fit_section(), fit_folder)
        inputs = {"model": store.manifest.inputs["model"], "descriptors": store.manifest.fingerprint}
        seed, most = settings.seed, settings.per_word * settings.words
        codebook = learn_codebook(
            store.sample(most, generator(seed, "codebook sample")),
            settings.words,
            iterations=settings.iterations,
            seed=seed,
            gpu=resolve_device(params.device).type == "cuda",
            track=track,
        )
    with staged_folder(folder) as temporary:
        save_codebook(temporary, codebook, Manifest("codebook", params.sections("codebook"), inputs))


def index_dataset(
    params: Params,
    model_file: Path,
    dataset_folder: Path,
    descriptors_folder: Path,
    codebook_folder: Path,
    folder: Path,
    track: Track = silent,
) -> None:
    """Build the index of a dataset's database, with everything beside it that a search needs.

    Raises:
        ArtifactError: an input is damaged, or was made from another model or dataset than the others.
    """
    _, model = read_model_file(model_file)
    dataset = open_dataset(dataset_folder)
    codebook, codebook_manifest = open_codebook(codebook_folder)
    store = open_descriptors(descriptors_folder / "database")
    require_params(store.manifest, params.sections("extract"), descriptors_folder)
    require_params(codebook_manifest, params.sections("codebook"), codebook_folder)
    require_input(store.manifest, "model", model.fingerprint, descriptors_folder)
    require_input(store.manifest, "dataset", dataset.fingerprint, descriptors_folder)
    if params.codebook.file is None:
        require_input(codebook_manifest, "model", model.fingerprint, codebook_folder)
    words, dim = codebook.centroids.shape
    codebook = replace(codebook, approximate=params.index.quantisation == "approximate")
    with staged_folder(folder) as temporary:
        build_index(
            temporary,
            _aggregate_shards(params, store, codebook, dataset.images["path"].tolist(), track),
            Layout(words, dim, params.index.binary, params.index.packed),
            memory=int(params.index.memory * 2**30),
            facts=_measure_recall(params, store, codebook),
            params=params.sections("index"),
            inputs={
                "model": model.fingerprint,
                "dataset": dataset.fingerprint,
                "codebook": codebook_manifest.fingerprint,
                "descriptors": store.manifest.fingerprint,
            },
        )
        shutil.copy(model_file, temporary / MODEL)
        shutil.copytree(codebook_folder, temporary / CODEBOOK)
        _locate_images(dataset).to_parquet(temporary / IMAGES, index=False)
        write_json(temporary / PARAMS, params.model_dump(mode="json"))


def _locate_images(dataset: Dataset) -> pd.DataFrame:
    """The table of images with their names, and with absolute paths of files and archives."""
    root, own = dataset.root.resolve(), dataset.images
    archives = own["archive"].map(lambda archive: str(root / archive), na_action="ignore")
    paths = own["path"].map(lambda path: str((root / path).resolve())).where(archives.isna(), own["path"])
    return own.assign(path=paths, archive=archives, name=own["path"])


_RECALL_SAMPLE = 2000  # descriptors


def _measure_recall(params: Params, store: DescriptorStore, codebook: Codebook) -> dict[str, float]:
    """What approximate assignment finds of the exact one, for the manifest; nothing where it is exact."""
    if not codebook.approximate:
        return {}
    sample = store.sample(_RECALL_SAMPLE, generator(params.seed, "recall sample"))
    depths = sorted({1, params.index.assignment, params.search.assignment})
    return {f"recall@{depth}": codebook.recall(sample, depth) for depth in depths}


def _aggregate_shards(
    params: Params, store: DescriptorStore, codebook: Codebook, names: Sequence[str], track: Track
) -> Iterator[Aggregated]:
    shards = store.manifest.facts["shards"]
    first = 0
    for shard in track(store.shards(), "index", len(shards)):
        own = names[first : first + len(shard)]
        yield aggregate_images(shard, codebook, params.index.assignment, binary=params.index.binary, names=own)
        first += len(shard)


def aggregate_images(
    images: Descriptors, codebook: Codebook, assignment: int, *, binary: bool, names: Sequence[str] | None = None
) -> Aggregated:
    """Assign descriptors to their `assignment` nearest words and aggregate them image by image.

    Args:
        names: of the images, for the error message; without them it tells their numbers.

    Raises:
        ArtifactError: descriptors and codebook differ in dimension, or a descriptor is not finite (its image is named).
    """
    descriptors = images.descriptors.astype(np.float32, copy=False)
    wrong = np.flatnonzero(~np.isfinite(descriptors).all(axis=1))
    if len(wrong):
        image = int(np.searchsorted(images.offsets, wrong[0], side="right")) - 1
        name = names[image] if names is not None else f"image {image}"
        raise ArtifactError(f"{name}: a descriptor holds NaN or infinity; extract it again with weights that are sound")
    words = codebook.assign(descriptors, assignment)
    return aggregate(descriptors, words, images.offsets, codebook.centroids, binary=binary)
