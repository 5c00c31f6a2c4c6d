"""Gain from training on the embedded dataset: the default run, its control and the trunk off the shelf.

Three seeds of whitening, training and codebook, on the same photos. What a killed run has finished is found again.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from benchmarks.cache import cache_folder
from benchmarks.rows import code
from benchmarks.tables import interval, markdown, spread, write
from benchmarks.values import Value
from lrcr.cli.terminal import progress
from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.datasets.make import make_dataset
from lrcr.evaluation.evaluate import evaluate_dataset
from lrcr.evaluation.per_query import open_per_query, write_per_query
from lrcr.evaluation.seeds import Side, compare_seeds
from lrcr.features.extraction import extract_dataset, extract_fit
from lrcr.retrieval.build import index_dataset
from lrcr.retrieval.codebook import make_codebook
from lrcr.storage.artifacts import fingerprint
from lrcr.training.train import train

_SEEDS = (0, 1, 2)
_EVAL, _TRAIN, _VAL = "synthetic", "synthetic-train", "synthetic-val"
_WITHOUT_CONTEXT = ("smoothing.kind=none", "graph.kind=none")
_ROWS = {
    "off the shelf": (*_WITHOUT_CONTEXT, "train.epochs=0"),
    "whitening trained": _WITHOUT_CONTEXT,
    "LRCR (the default run)": (),
}


def run() -> Iterator[Value]:
    """Write `results/training.md`; yield mAP (medium), its deviation and the differences to the first two rows."""
    params = load_params(Path("params.yaml"))
    work = cache_folder(fingerprint(code(), params.model_dump(mode="json")))
    for name in (each for each in (_EVAL, _TRAIN, _VAL) if not (work / each).exists()):
        make_dataset(name, params.datasets[name], work / name, seed=params.seed, progress=progress)
    sides = {row: [Side(row, _evaluate(overrides, seed, work)) for seed in _SEEDS] for row, overrides in _ROWS.items()}
    head, rows = ["", "easy", "medium", "hard"], []
    bases = list(_ROWS)[:2]
    head += [f"difference to {base}, medium" for base in bases]
    for row, own in sides.items():
        cells = [row]
        for setup in ("easy", "medium", "hard"):
            scored = compare_seeds(own, own, setup).a
            assert scored is not None, "queries have positives"
            cells.append(spread(scored))
            if setup == "medium":
                yield Value(f"{row}: mAP (medium)", scored.mean)
        for base in bases:
            difference = compare_seeds(own, sides[base], "medium").difference
            assert difference is not None, "the dataset has several landmarks"
            cells.append("" if row == base else interval(difference))
            if row == list(_ROWS)[-1]:
                target = 0 if base == bases[0] else None
                name = f"{row}: difference to {base}, lower end of the 95 % interval"
                yield Value(name, difference.low, at_least=target)
        rows.append(cells)
    write("training", markdown(head, rows))


def _evaluate(overrides: tuple[str, ...], seed: int, work: Path) -> pd.DataFrame:
    """The AP of each query after training, extraction, codebook and index."""
    params = load_params(Path("params.yaml"), [*overrides, f"seed={seed}", f"codebook.seed={seed}"])
    own = work / fingerprint(overrides, seed)
    own.mkdir(exist_ok=True)
    if not (own / "ap.csv").exists():
        _run(params, work, own)
    return open_per_query(own / "ap.csv")


def _run(params: Params, data: Path, work: Path) -> None:
    model, descriptors, fit = work / "model.safetensors", work / "descriptors", work / "fit"
    codebook, index = work / "codebook", work / "index"
    train(params, data / _TRAIN, data / _VAL, model, progress=progress, maps_folder=data / "maps")
    extract_dataset(params, model, data / _EVAL, descriptors, progress)
    extract_fit(params, model, data / _TRAIN, fit, progress)
    make_codebook(params, fit, codebook)
    index_dataset(params, model, data / _EVAL, descriptors, codebook, index, progress)
    write_per_query(work / "ap.csv", evaluate_dataset(params, data / _EVAL, descriptors, index).per_query)
