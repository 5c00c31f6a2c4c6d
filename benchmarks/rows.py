"""The rows of a comparison of contexts: each is trained on the maps of one frozen trunk, all are evaluated alike.

The scores of a row are cached until the code changes, so that a killed run continues.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from benchmarks.cache import cache_folder
from benchmarks.evaluator import Evaluator, Scored, Setting
from lrcr.cli.terminal import progress
from lrcr.config.params import Params
from lrcr.config.reading import check_params
from lrcr.data.dataset import open_dataset
from lrcr.models.factory import build_model, open_local_model, weight_files
from lrcr.models.inference import ready_for_inference
from lrcr.storage.artifacts import fingerprint, hash_file, staged_file
from lrcr.training.maps import StoredMaps
from lrcr.training.train import train

Changes = list[dict[str, Any]]
"""Sections of the params with the keys that differ."""

Log = list[dict[str, float]]
"""The log of a training (`lrcr.training.phases.Log`)."""

PLAIN = Setting()
"""The setting of the tables."""

CURVE = [Setting(share) for share in (0.2, 0.4, 0.7, 1.0, 1.5)]
"""The settings of the curve of mAP against words per image."""

SELECTIVE = Setting(tau=0.25)
SETTINGS = [*CURVE, SELECTIVE]

NONE: dict[str, Any] = {"smoothing": {"kind": "none"}}
UNTRAINED: dict[str, Any] = {"train": {"epochs": 0}}


@dataclass(frozen=True)
class Run:
    """A row of one seed: its scores in each setting, and the log of its training."""

    scored: dict[Setting, Scored]
    log: Log


class Rows:
    """Trains and scores rows on one frozen trunk.

    Args:
        params: of the trunk, of training and evaluation; a row changes some.
        train_on, validate_on, evaluate_on: folders of datasets.
        codebooks: number of codebooks over which a score is averaged.
    """

    def __init__(self, params: Params, train_on: Path, validate_on: Path, evaluate_on: Path, codebooks: int) -> None:
        self.params, self.train_on, self.validate_on = params, train_on, validate_on
        files = weight_files(params)
        origin = [code(), files, *(open_dataset(folder).fingerprint for folder in (train_on, validate_on))]
        self.origin = [*map(str, origin)]
        self.maps_folder = cache_folder(fingerprint("maps", files, params.sections("backbone")))
        model = build_model(params).eval()
        model.freeze(0)
        maps = StoredMaps(model.backbone, params.extract.image_size, torch.device("cpu"), self.maps_folder)
        self.validation = Evaluator(params, maps, validate_on, codebooks)
        self.evaluation = Evaluator(params, maps, evaluate_on, codebooks)

    def run(self, changes: Changes, seed: int, settings: Sequence[Setting] = SETTINGS) -> Run:
        """Train a row with a seed, and score it on the evaluation photos."""
        return self._run(changes, seed, settings, self.evaluation)

    def choose(self, candidates: dict[str, Changes]) -> str:
        """The candidate with the best mAP (medium) on the validation photos."""
        scores = {}
        for name, changes in candidates.items():
            table = self._run(changes, 0, [PLAIN], self.validation).scored[PLAIN].table
            scores[name] = float(np.nanmean(table["medium"]))
            logging.info("%s: %.2f on validation", name, scores[name])
        return max(scores, key=lambda name: scores[name])

    def _run(self, changes: Changes, seed: int, settings: Sequence[Setting], evaluator: Evaluator) -> Run:
        params = changed(self.params, *changes, {"seed": seed})
        folder = cache_folder(fingerprint(*self.origin, params.model_dump(mode="json")))
        scores = folder / fingerprint(*evaluator.identity)
        files = {setting: scores / f"{setting.share:g}-{setting.tau:g}.parquet" for setting in settings}
        model_file = folder / "model.safetensors"
        if not model_file.exists():
            self._train(params, model_file)
        if not all(file.exists() for file in files.values()):
            scores.mkdir(exist_ok=True)
            model = ready_for_inference(open_local_model(model_file), torch.device("cpu"))
            for setting, found in evaluator.score(model, settings, seed).items():
                with staged_file(files[setting]) as temporary:
                    found.table.assign(words=found.words).to_parquet(temporary, index=False)
        tables = {setting: pd.read_parquet(file) for setting, file in files.items()}
        scored = {
            setting: Scored(table.drop(columns="words"), float(table["words"][0])) for setting, table in tables.items()
        }
        return Run(scored, json.loads((folder / "log.json").read_text(encoding="utf-8")))

    def _train(self, params: Params, model_file: Path) -> None:
        log: Log = []
        trained = model_file.with_name("trained.safetensors")
        train(
            params,
            self.train_on,
            self.validate_on,
            trained,
            log=log.append,
            progress=progress,
            maps_folder=self.maps_folder,
        )
        with staged_file(model_file.with_name("log.json")) as temporary:
            temporary.write_text(json.dumps(log), encoding="utf-8")
        trained.replace(model_file)


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


def code() -> str:
    """A hash of the code that decides a score."""
    root = Path(__file__).parents[1]
    files = [*sorted((root / "lrcr").rglob("*.py")), root / "benchmarks/evaluator.py", Path(__file__)]
    return fingerprint(*(hash_file(file) for file in files))
