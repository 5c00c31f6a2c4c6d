"""The rows of the comparison of contexts: each learns on a trunk's frozen maps, all are evaluated on the same photos.

What a row has scored is kept in the cache until the code changes, so that a run which was killed continues.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.arena import Arena, Scored, Setting
from lrcr.cli.terminal import progress
from lrcr.config.params import Params
from lrcr.config.reading import check_params
from lrcr.data.dataset import open_dataset
from lrcr.models.factory import open_model, weight_files
from lrcr.models.inference import ready_for_inference
from lrcr.models.local import LocalModel
from lrcr.storage.artifacts import fingerprint, hash_file, staged_file, state_folder
from lrcr.training.train import train

Changes = list[dict[str, Any]]
Runs = dict[Setting, Scored]

PLAIN = Setting()
"""What the tables are made with."""

CURVE = [Setting(share) for share in (0.2, 0.4, 0.7, 1.0, 2.0)]
"""Of mAP against words an image."""

SELECTIVE = Setting(tau=0.25)
SETTINGS = [*CURVE, SELECTIVE]

_NONE: dict[str, Any] = {"smoothing": {"kind": "none"}}
_FILTER: dict[str, Any] = {"smoothing": {"kind": "learnable"}}
_GCN: dict[str, Any] = {"graph": {"kind": "gcn"}}

KERNELS: dict[int, Changes] = {1: [_NONE]} | {k: [{"smoothing": {"kernel": k}}] for k in (3, 5, 7)}
"""Averages, of which validation chooses one; the kernel of one location is no smoothing."""

BASELINES = ("no smoothing", "average")

PER_LOCATION: dict[str, Any] = {"smoothing": {"kernel": 3, "learn": "both"}, "train": {"together": None}}
"""What the recipe spares a few hundred photos, for those who learn from a thousand."""


def rows(average: Changes) -> dict[str, Changes]:
    """What each row changes, given what the average chosen on validation changes; graphs stand alone."""
    return {
        "no smoothing": [_NONE],
        "average": average,
        "+ learnable filter": [_FILTER],
        "+ GCN": [_NONE, _GCN],
        "+ both": [_FILTER, _GCN, {"train": {"merge": True}}],
        "self-attention": [_NONE, {"graph": {"kind": "attention"}}],
    }


@dataclass(frozen=True)
class Match:
    """Where a row learns, where the average is chosen, and where the row is evaluated."""

    train_on: Path
    validation: Arena
    evaluated: Arena


def changed(params: Params, *changes: dict[str, Any]) -> Params:
    """The params with some keys of some sections replaced."""
    values = params.model_dump(mode="json")
    for change in changes:
        for section, keys in change.items():
            values[section] = {**values[section], **keys}
    return check_params(values, "benchmark")


def choose_average(params: Params, match: Match, seed: int) -> Changes:
    """The average with the best mAP (medium) on photos that are not the table's; no smoothing is scored as well."""
    untrained = {"train": {"epochs": 0}}
    scores = {}
    for kernel, changes in KERNELS.items():
        scored = score_row(changed(params, *changes, untrained), match.train_on, match.validation, [PLAIN], seed)
        scores[kernel] = float(np.nanmean(scored[PLAIN].table["medium"]))
        logging.info("kernel %d: %.2f on validation", kernel, scores[kernel])
    return KERNELS[max((kernel for kernel in KERNELS if kernel > 1), key=lambda kernel: scores[kernel])]


def compare_rows(params: Params, matches: Sequence[Match], seed: int) -> dict[str, Runs]:
    """Every row in each match under one seed of training and codebook, the matches' queries taken together."""
    return together([score_rows(params, match, rows(choose_average(params, match, seed)), seed) for match in matches])


def score_rows(
    params: Params, match: Match, changes: dict[str, Changes], seed: int, settings: Sequence[Setting] = SETTINGS
) -> dict[str, Runs]:
    """Train and evaluate each row, given what it changes."""
    scored = {}
    for row, own in changes.items():
        seeded = changed(params, *own).model_copy(update={"seed": seed})
        scored[row] = score_row(seeded, match.train_on, match.evaluated, settings, seed)
        logging.info("seed %d, %s: %.2f", seed, row, np.nanmean(scored[row][PLAIN].table["medium"]))
    return scored


def together(matches: Sequence[dict[str, Runs]]) -> dict[str, Runs]:
    """The queries of several matches taken together, row by row and setting by setting."""
    return {
        row: {setting: _joined([match[row][setting] for match in matches]) for setting in runs}
        for row, runs in matches[0].items()
    }


def score_row(params: Params, train_on: Path, arena: Arena, settings: Sequence[Setting], seed: int) -> Runs:
    """Train a row as `lrcr train` does and evaluate it, unless that has been done."""
    origin = [code(), weight_files(params), open_dataset(train_on).fingerprint]
    identity = fingerprint(*origin, params.model_dump(mode="json"), arena.identity)
    folder = state_folder(f"benchmarks/{identity}")
    files = {setting: folder / f"{setting.share:g}-{setting.tau:g}-{seed}.parquet" for setting in settings}
    if not all(file.exists() for file in files.values()):
        trunk = fingerprint(*origin, params.sections("backbone"), params.train.image_size)
        maps = state_folder(f"benchmarks/{trunk}")
        scored = arena.score(_train(params, train_on, folder / "model.pt", maps), settings, seed)
        for setting, run in scored.items():
            with staged_file(files[setting]) as temporary:
                run.table.assign(words=run.words).to_parquet(temporary, index=False)
    tables = {setting: pd.read_parquet(file) for setting, file in files.items()}
    return {setting: Scored(table.drop(columns="words"), float(table["words"][0])) for setting, table in tables.items()}


def _train(params: Params, train_on: Path, model_file: Path, maps: Path) -> LocalModel:
    if not model_file.exists():
        train(params, train_on, None, model_file, progress=progress, maps_folder=maps)
    model, _ = open_model(model_file)
    return ready_for_inference(model, torch.device("cpu"))


def _joined(parts: Sequence[Scored]) -> Scored:
    table = pd.concat([part.table for part in parts], ignore_index=True)
    return Scored(table.assign(query=range(len(table))), sum(part.words for part in parts) / len(parts))


def code() -> str:
    """A hash of the code that decides a score."""
    root = Path(__file__).parents[1]
    files = [*sorted((root / "lrcr").rglob("*.py")), root / "benchmarks/arena.py", Path(__file__)]
    return fingerprint(*(hash_file(file) for file in files))
