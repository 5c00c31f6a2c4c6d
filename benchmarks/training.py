"""Gain from training on the embedded dataset: mAP (medium) of the trained network minus that of the untrained one."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.values import Value
from lrcr.cli.terminal import progress
from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.data.dataset import open_dataset
from lrcr.datasets.make import make_dataset
from lrcr.evaluation.compare import compare, query_landmarks
from lrcr.evaluation.evaluate import evaluate_dataset
from lrcr.features.extraction import extract_dataset, extract_fit
from lrcr.retrieval.build import index_dataset
from lrcr.retrieval.codebook import make_codebook
from lrcr.training.train import train

_SEEDS = (0, 1, 2)
_EVAL, _TRAIN, _VAL = "synthetic", "synthetic-train", "synthetic-val"


def run() -> Iterator[Value]:
    """Three seeds of data, weights and tuples; the bootstrap resamples the landmarks of all three together."""
    trained, untrained, landmarks = [], [], []
    for seed in _SEEDS:
        params = load_params(Path("params.yaml"), [f"seed={seed}"])
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder)
            for name in (_EVAL, _TRAIN, _VAL):
                make_dataset(name, params.datasets[name], data / name, seed=seed, progress=progress)
            ids = query_landmarks(open_dataset(data / _EVAL))
            without_training = params.model_copy(update={"train": params.train.model_copy(update={"epochs": 0})})
            untrained.append(_average_precisions(without_training, data, data / "untrained"))
            trained.append(_average_precisions(params, data, data / "trained"))
        landmarks.append(ids + 1_000_000 * seed)
        yield Value(f"seed {seed}: mAP (medium), untrained", float(np.nanmean(untrained[-1])))
        yield Value(f"seed {seed}: mAP (medium), trained", float(np.nanmean(trained[-1])))
    gain = compare(np.concatenate(trained), np.concatenate(untrained), np.concatenate(landmarks), seed=0)
    assert gain is not None, "the dataset has several landmarks"
    yield Value("gain in mAP (medium), points", gain.mean, at_least=5)
    yield Value("gain, lower end of the 95 % interval", gain.low, at_least=0)
    yield Value("gain, upper end of the 95 % interval", gain.high)


def _average_precisions(params: Params, data: Path, work: Path) -> npt.NDArray[np.float64]:
    """AP (medium) of each query after training, extraction, codebook and index; NaN where it has no positive."""
    model, descriptors, fit = work / "model.pt", work / "descriptors", work / "fit"
    codebook, index = work / "codebook", work / "index"
    train(params, data / _TRAIN, data / _VAL, model, progress=progress)
    extract_dataset(params, model, data / _EVAL, descriptors, progress)
    extract_fit(params, model, data / _TRAIN, fit, progress)
    make_codebook(params, fit, codebook)
    index_dataset(params, model, data / _EVAL, descriptors, codebook, index, progress)
    return evaluate_dataset(params, data / _EVAL, descriptors, index).evaluation.ap["medium"]
