"""Real photos: HOW without training, mAP compared with that of the reference implementation.

Needs `LRCR_TEST_DATA`: a folder with `photos/`, `weights/` and `parity/`.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean

from benchmarks.values import Value
from lrcr.cli.terminal import progress
from lrcr.config.datasets import FolderParams
from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.datasets.make import make_dataset
from lrcr.errors import LrcrError
from lrcr.evaluation.evaluate import evaluate_dataset
from lrcr.features.extraction import extract_dataset, extract_fit
from lrcr.retrieval.build import index_dataset
from lrcr.retrieval.codebook import make_codebook
from lrcr.training.train import train

_REFERENCE = {"medium": 75.67, "hard": 62.15}
_SEEDS = range(5)


def run() -> Iterator[Value]:
    """First with whitening and codebook of the reference, then with whitening and codebooks learned by lrcr."""
    data = test_data()
    given = {"whitening.file": "parity/how_photos.npz", "codebook.file": "parity/how_codebook.npz"}
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        photos = FolderParams(kind="folder", path=str(data / "photos"))
        make_dataset("photos", photos, work / "dataset", seed=0, progress=progress)
        params = recipe(data, *(f"{key}={data / file}" for key, file in given.items()))
        describe(params, work, "given")
        for setup, value in _map(params, work, "given").items():
            yield Value(f"mAP ({setup}), whitening and codebook given", value)
            yield Value("its absolute difference to the reference, points", abs(value - _REFERENCE[setup]), at_most=0.3)
        describe(recipe(data), work, "own")
        learned = [_map(recipe(data, "codebook.words=2048", f"codebook.seed={seed}"), work, "own") for seed in _SEEDS]
        for setup, reference in _REFERENCE.items():
            value = mean(found[setup] for found in learned)
            yield Value(f"mAP ({setup}), whitening learned, mean of 5 codebooks learned", value)
            yield Value("its absolute difference to the reference, points", abs(value - reference), at_most=1.5)


def test_data() -> Path:
    """The folder of real photos.

    Raises:
        LrcrError: `LRCR_TEST_DATA` is not set.
    """
    if "LRCR_TEST_DATA" not in os.environ:
        raise LrcrError("LRCR_TEST_DATA: not set; set it to the folder of photos and weights")
    return Path(os.environ["LRCR_TEST_DATA"]).resolve()


def recipe(data: Path, *overrides: str) -> Params:
    """The params with which the reference numbers were measured."""
    weights = f"backbone.weights={data / 'weights/resnet18-imagenet-to-layer3.npz'}"
    sizes = ("extract.image_size=512", "train.image_size=512", "train.epochs=0")
    return load_params(None, [weights, "backbone.skip_layers=1", *sizes, *overrides], recipe="how-r18")


def describe(params: Params, work: Path, name: str) -> None:
    """Make the untrained model and describe the photos of `work/dataset`, all in the folder `work/name`."""
    model = work / name / "model.safetensors"
    train(params, work / "dataset", None, model, progress=progress)
    extract_dataset(params, model, work / "dataset", work / name / "descriptors", progress)
    extract_fit(params, model, work / "dataset", work / name / "fit", progress=progress)


def _map(params: Params, work: Path, name: str) -> dict[str, float]:
    model, descriptors = work / name / "model.safetensors", work / name / "descriptors"
    codebook, index = work / name / "codebook", work / name / "index"
    make_codebook(params, work / name / "fit", codebook)
    index_dataset(params, model, work / "dataset", descriptors, codebook, index)
    found = evaluate_dataset(params, work / "dataset", descriptors, index).evaluation.map
    return {setup: value for setup, value in found.items() if value is not None and setup in _REFERENCE}
