"""The rows of the comparison of contexts: each is trained on the frozen maps of one trunk, all are evaluated alike.

The scores of a row are cached until the code changes, so that a killed run continues.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from benchmarks.cache import cache_folder
from benchmarks.evaluator import Evaluator, Scored, Setting
from lrcr.cli.terminal import progress
from lrcr.config.params import Params
from lrcr.config.reading import check_params
from lrcr.data.dataset import open_dataset
from lrcr.models.factory import open_local_model, weight_files
from lrcr.models.inference import ready_for_inference
from lrcr.models.local import LocalModel
from lrcr.storage.artifacts import fingerprint, hash_file, staged_file
from lrcr.training.train import train

Changes = list[dict[str, Any]]
"""Sections of the params with the keys that differ."""

Runs = dict[Setting, Scored]
Schedule = Literal["separate", "separate_then_joint"]

PLAIN = Setting()
"""The setting of the tables."""

CURVE = [Setting(share) for share in (0.2, 0.4, 0.7, 1.0, 2.0)]
"""The settings of the curve of mAP against words per image."""

SELECTIVE = Setting(tau=0.25)
SETTINGS = [*CURVE, SELECTIVE]

_NONE: dict[str, Any] = {"smoothing": {"kind": "none"}}
_FILTER: dict[str, Any] = {"smoothing": {"kind": "learnable"}}
_GCN: dict[str, Any] = {"graph": {"kind": "gcn"}}

KERNELS: dict[int, Changes] = {1: [_NONE]} | {k: [{"smoothing": {"kernel": k}}] for k in (3, 5, 7)}
"""Averages, one of which is chosen on validation; kernel 1 is no smoothing."""

BASELINES = ("no smoothing", "average")

PER_LOCATION: dict[str, Any] = {"smoothing": {"kernel": 3, "learn": "both"}}
"""A bandwidth and a self-confidence for each location, which need more photos than the recipe is made for."""


def rows(average: Changes, schedule: Schedule) -> dict[str, Changes]:
    """What each row changes, given the changes of the chosen average; a graph alone has no smoothing."""
    return {
        "no smoothing": [_NONE],
        "average": average,
        "+ learnable filter": [_FILTER],
        "+ GCN": [_NONE, _GCN],
        "+ both": [_FILTER, _GCN, {"train": {"tuples": {"schedule": schedule}}}],
        "self-attention": [_NONE, {"graph": {"kind": "attention"}}],
    }


@dataclass(frozen=True)
class Split:
    """The photos of one comparison.

    Args:
        train: folder of the dataset that the rows are trained on.
        validation: where the average is chosen.
        evaluation: where the rows are scored.
    """

    train: Path
    validation: Evaluator
    evaluation: Evaluator


def changed(params: Params, *changes: dict[str, Any]) -> Params:
    """The params with some keys of some sections replaced; sections may lie inside sections."""
    values = params.model_dump(mode="json")
    for change in changes:
        _replace(values, change)
    return check_params(values, "benchmark")


def _replace(values: dict[str, Any], change: dict[str, Any]) -> None:
    for key, value in change.items():
        if isinstance(value, dict) and isinstance(values.get(key), dict):
            _replace(values[key], value)
        else:
            values[key] = value


def choose_average(params: Params, split: Split, seed: int) -> Changes:
    """The average with the best mAP (medium) on the validation photos; no smoothing is scored and logged too."""
    untrained = {"train": {"epochs": 0}}
    scores = {}
    for kernel, changes in KERNELS.items():
        scored = score_row(changed(params, *changes, untrained), split.train, split.validation, [PLAIN], seed)
        scores[kernel] = float(np.nanmean(scored[PLAIN].table["medium"]))
        logging.info("kernel %d: %.2f on validation", kernel, scores[kernel])
    return KERNELS[max((kernel for kernel in KERNELS if kernel > 1), key=lambda kernel: scores[kernel])]


def compare_rows(
    params: Params, splits: Sequence[Split], seed: int, schedule: Schedule = "separate"
) -> dict[str, Runs]:
    """Score every row in each split with one seed of training and codebook; pool the queries of the splits."""
    return pool_splits(
        [score_rows(params, split, rows(choose_average(params, split, seed), schedule), seed) for split in splits]
    )


def score_rows(
    params: Params, split: Split, changes: dict[str, Changes], seed: int, settings: Sequence[Setting] = SETTINGS
) -> dict[str, Runs]:
    """Train and evaluate each row, given what it changes."""
    scored = {}
    for row, own in changes.items():
        seeded = changed(params, *own).model_copy(update={"seed": seed})
        scored[row] = score_row(seeded, split.train, split.evaluation, settings, seed)
        logging.info("seed %d, %s: %.2f", seed, row, np.nanmean(scored[row][PLAIN].table["medium"]))
    return scored


def pool_splits(splits: Sequence[dict[str, Runs]]) -> dict[str, Runs]:
    """Pool the queries of several splits, for each row and setting."""
    return {
        row: {setting: _concatenate([split[row][setting] for split in splits]) for setting in runs}
        for row, runs in splits[0].items()
    }


def score_row(params: Params, train_on: Path, evaluator: Evaluator, settings: Sequence[Setting], seed: int) -> Runs:
    """Train a row as `lrcr train` does and evaluate it; scores that are cached are read."""
    origin = [code(), weight_files(params), open_dataset(train_on).fingerprint]
    identity = fingerprint(*origin, params.model_dump(mode="json"), evaluator.identity)
    folder = cache_folder(f"{identity}")
    files = {setting: folder / f"{setting.share:g}-{setting.tau:g}-{seed}.parquet" for setting in settings}
    if not all(file.exists() for file in files.values()):
        trunk = fingerprint(*origin, params.sections("backbone"), params.train.image_size)
        maps = cache_folder(f"{trunk}")
        scored = evaluator.score(_train(params, train_on, folder / "model.safetensors", maps), settings, seed)
        for setting, run in scored.items():
            with staged_file(files[setting]) as temporary:
                run.table.assign(words=run.words).to_parquet(temporary, index=False)
    tables = {setting: pd.read_parquet(file) for setting, file in files.items()}
    return {setting: Scored(table.drop(columns="words"), float(table["words"][0])) for setting, table in tables.items()}


def _train(params: Params, train_on: Path, model_file: Path, maps: Path) -> LocalModel:
    if not model_file.exists():
        train(params, train_on, None, model_file, progress=progress, maps_folder=maps)
    model = open_local_model(model_file)
    return ready_for_inference(model, torch.device("cpu"))


def _concatenate(parts: Sequence[Scored]) -> Scored:
    table = pd.concat([part.table for part in parts], ignore_index=True)
    return Scored(table.assign(query=range(len(table))), sum(part.words for part in parts) / len(parts))


def code() -> str:
    """A hash of the code that decides a score."""
    root = Path(__file__).parents[1]
    files = [*sorted((root / "lrcr").rglob("*.py")), root / "benchmarks/evaluator.py", Path(__file__)]
    return fingerprint(*(hash_file(file) for file in files))
