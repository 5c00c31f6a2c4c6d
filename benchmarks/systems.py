"""Systems of a comparison: each is trained, extracted, indexed and evaluated by the steps of the pipeline.

Models, indexes and scores that a killed run has finished are found again, until the code changes.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.cache import cache_folder
from benchmarks.rows import Log, code
from lrcr.cli.terminal import progress
from lrcr.config.params import MODEL_SECTIONS, Params
from lrcr.data.dataset import open_dataset
from lrcr.evaluation.evaluate import evaluate_dataset
from lrcr.evaluation.per_query import open_per_query, write_per_query
from lrcr.features.extraction import extract_dataset, extract_fit
from lrcr.retrieval.build import index_dataset
from lrcr.retrieval.codebook import make_codebook
from lrcr.storage.artifacts import fingerprint, staged_file, staged_folder
from lrcr.training.train import train


@dataclass(frozen=True)
class Scores:
    """The evaluation of one system.

    Args:
        table: AP of each query (`lrcr.evaluation.per_query`).
        cost: bytes per image, images per second in extraction, milliseconds per query in search.
    """

    table: pd.DataFrame
    cost: dict[str, float]


def open_scores(folder: Path) -> Scores:
    """Read what `write_scores` wrote."""
    return Scores(open_per_query(folder / "ap.csv"), json.loads((folder / "cost.json").read_text(encoding="utf-8")))


def write_scores(folder: Path, scores: Scores) -> None:
    """Write the scores into an existing folder."""
    write_per_query(folder / "ap.csv", scores.table)
    (folder / "cost.json").write_text(json.dumps(scores.cost), encoding="utf-8")


class Systems:
    """Trains and evaluates systems on the same three datasets.

    Args:
        train_on, validate_on, evaluate_on: folders of datasets; codebooks are learned from the first one.
    """

    def __init__(self, train_on: Path, validate_on: Path, evaluate_on: Path) -> None:
        self.train_on, self.validate_on, self.evaluate_on = train_on, validate_on, evaluate_on
        self.origin = [code(), *(open_dataset(folder).fingerprint for folder in (train_on, validate_on, evaluate_on))]

    def evaluate(self, params: Params, *, keep: bool = False) -> Scores:
        """Train a system, unless another one with the same model was trained, and evaluate it.

        Args:
            keep: whether `build` will be called with the same params; otherwise the index is removed.
        """
        scores = self.cache("system", params) / "scores"
        if not scores.exists():
            built = self.build(params)
            with staged_folder(scores) as folder:
                write_scores(folder, self._evaluate(params, built))
            if not keep:
                shutil.rmtree(built)
        return open_scores(scores)

    def validate(self, params: Params) -> float:
        """The best mAP (medium) on the validation set that the training of a system reaches."""
        log: Log = json.loads(self._train(params).with_name("log.json").read_text(encoding="utf-8"))
        return max(values["validation_map"] for values in log if "validation_map" in values)

    def build(self, params: Params) -> Path:
        """Train a system and index the photos; returns the folder with `descriptors`, `index` and the cost."""
        built = self.cache("system", params) / "built"
        if not built.exists():
            model = self._train(params)
            with staged_folder(built) as folder:
                self._build(params, model, folder)
        return built

    def cache(self, name: str, *identity: Any) -> Path:
        """The folder for what depends on the code, the datasets, and these params or plain values."""
        plain = [each.model_dump(mode="json") if isinstance(each, Params) else each for each in identity]
        return cache_folder(fingerprint(name, *self.origin, *plain))

    def _train(self, params: Params) -> Path:
        """The file of the model; its log lies beside it."""
        own = self.cache("model", params.sections(*MODEL_SECTIONS))
        log: Log = []
        model = own / "model.safetensors"
        if not model.exists():
            maps = cache_folder(fingerprint("system maps", params.sections("backbone")))
            train(
                params,
                self.train_on,
                self.validate_on,
                own / "trained.safetensors",
                log=log.append,
                progress=progress,
                maps_folder=maps,
            )
            with staged_file(own / "log.json") as temporary:
                temporary.write_text(json.dumps(log), encoding="utf-8")
            (own / "trained.safetensors").replace(model)
        return model

    def _build(self, params: Params, model: Path, folder: Path) -> None:
        descriptors, fit, codebook = folder / "descriptors", folder / "fit", folder / "codebook"
        cost = extract_dataset(params, model, self.evaluate_on, descriptors, progress)
        if params.learns_codebook:
            extract_fit(params, model, self.train_on, fit, progress)
        make_codebook(params, fit, codebook, progress)
        index_dataset(params, model, self.evaluate_on, descriptors, codebook, folder / "index", progress)
        shutil.rmtree(fit, ignore_errors=True)
        (folder / "extraction.json").write_text(json.dumps(cost), encoding="utf-8")

    def _evaluate(self, params: Params, built: Path) -> Scores:
        """Search what was built."""
        descriptors, index = built / "descriptors", built / "index"
        evaluate_dataset(params, self.evaluate_on, descriptors, index)  # compiles the kernels that are timed below
        result = evaluate_dataset(params, self.evaluate_on, descriptors, index)
        extraction = json.loads((built / "extraction.json").read_text(encoding="utf-8"))
        cost = {
            "bytes per image": float(result.metrics["bytes_per_image"]),
            "images/s": extraction["extract_images_per_second"],
            "ms per query": result.cost["search_ms_per_query"],
        }
        return Scores(result.per_query, cost)
