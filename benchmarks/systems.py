"""Systems of a comparison: each is trained, extracted, indexed and evaluated by the steps of the pipeline.

Models and scores that a killed run has finished are found again, until the code changes.
"""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

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


class Systems:
    """Trains and evaluates systems on the same three datasets.

    Args:
        train_on, validate_on, evaluate_on: folders of datasets; codebooks are learned from the first one.
    """

    def __init__(self, train_on: Path, validate_on: Path, evaluate_on: Path) -> None:
        self.train_on, self.validate_on, self.evaluate_on = train_on, validate_on, evaluate_on
        self.origin = [code(), *(open_dataset(folder).fingerprint for folder in (train_on, validate_on, evaluate_on))]

    def evaluate(self, params: Params) -> Scores:
        """Train a system, unless another one with the same model was trained, and evaluate it."""
        own = cache_folder(fingerprint("system", *self.origin, params.model_dump(mode="json")))
        if not (own / "scores").exists():
            model = self._train(params)
            with staged_folder(own / "scores") as scores, tempfile.TemporaryDirectory() as work:
                self._evaluate(params, model, Path(work), scores)
        cost = json.loads((own / "scores/cost.json").read_text(encoding="utf-8"))
        return Scores(open_per_query(own / "scores/ap.csv"), cost)

    def validate(self, params: Params) -> float:
        """The best mAP (medium) on the validation set that the training of a system reaches."""
        log: Log = json.loads(self._train(params).with_name("log.json").read_text(encoding="utf-8"))
        return max(values["validation_map"] for values in log if "validation_map" in values)

    def _train(self, params: Params) -> Path:
        """The file of the model; its log lies beside it."""
        own = cache_folder(fingerprint("model", *self.origin, params.sections(*MODEL_SECTIONS)))
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

    def _evaluate(self, params: Params, model: Path, work: Path, scores: Path) -> None:
        """Extract, index and search in the folder `work`; write AP and cost to the folder `scores`."""
        descriptors, index = work / "descriptors", work / "index"
        cost = extract_dataset(params, model, self.evaluate_on, descriptors, progress)
        if params.learns_codebook:
            extract_fit(params, model, self.train_on, work / "fit", progress)
        make_codebook(params, work / "fit", work / "codebook", progress)
        index_dataset(params, model, self.evaluate_on, descriptors, work / "codebook", index, progress)
        evaluate_dataset(params, self.evaluate_on, descriptors, index)  # compiles the kernels that are timed below
        result = evaluate_dataset(params, self.evaluate_on, descriptors, index)
        write_per_query(scores / "ap.csv", result.per_query)
        measured = {
            "bytes per image": float(result.metrics["bytes_per_image"]),
            "images/s": cost["extract_images_per_second"],
            "ms per query": result.cost["search_ms_per_query"],
        }
        (scores / "cost.json").write_text(json.dumps(measured), encoding="utf-8")
