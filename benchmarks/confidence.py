"""Real photos: how often queries without a match in an index have results, beside the stated rates; matches found.

The identities of `more-photos/` are divided in two at random, several times. The photos of one half are the index, or
one photo of each of its identities, so that no photo has a match in the index. The photos of the other half are the
queries without a match, the rest of this half those with a match. Identities of the shop's shelves are left out: two
can be on one photo. The details of the law were chosen on these photos too. Needs `LRCR_TEST_DATA`: a folder with
`more-photos/`.
"""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.cache import cache_folder
from benchmarks.photos import describe, test_data
from benchmarks.tables import markdown, write
from benchmarks.values import Value
from lrcr.cli.terminal import progress
from lrcr.config.datasets import FolderParams
from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.config.retrieval import SearchParams
from lrcr.data.dataset import Dataset, open_dataset
from lrcr.data.ranking import Ranking
from lrcr.datasets.make import make_dataset
from lrcr.features.store import Descriptors, DescriptorStore, open_descriptors
from lrcr.retrieval.backend import backend_of
from lrcr.retrieval.build import complete_index
from lrcr.retrieval.codebook import make_codebook
from lrcr.retrieval.images import images_of
from lrcr.retrieval.layout import CODEBOOK
from lrcr.retrieval.searcher import Searcher
from lrcr.storage.artifacts import fingerprint

_LOCAL = ("extract.image_size=512", "train.image_size=512", "codebook.words=2048")
_GLOBAL = ("model.name=gem", "extract.image_size=256", "extract.scales=[1.0]", "codebook.scales=[1.0]")
_KINDS = {"ASMK, 512 pixels": _LOCAL, "GeM, 256 pixels, one scale": _GLOBAL}
_DIVISIONS = 4
_RATES = (0.1, 0.05, 0.01)
_SHELVES = "grocery_"

Places = npt.NDArray[np.int64]


def run() -> Iterator[Value]:
    """Yield the rates of false alarms and of matches found by both kinds of index; write `results/confidence.md`."""
    work, rows = cache_folder("confidence"), []
    if not (work / "dataset").exists():
        photos = FolderParams(kind="folder", path=str(test_data() / "more-photos"))
        make_dataset("more-photos", photos, work / "dataset", seed=0, progress=progress)
    for kind, overrides in _KINDS.items():
        measured = _measure(load_params(None, [*overrides, "train.epochs=0"]), work)
        for (content, rate), values in measured.items():
            names = ("queries without a match that have a result, %", "queries with a match that find one, %")
            for name, value in zip(names, values, strict=True):
                yield Value(f"{kind}, {content}, confidence {1 - rate:g}: {name}", value)
            rows.append([kind, content, f"{1 - rate:g}", f"{100 * rate:g} %", *(f"{value:.1f} %" for value in values)])
    head = [
        "index",
        "of each identity",
        "`--min-confidence`",
        "false alarms, stated",
        "false alarms, measured",
        "matches found",
    ]
    write("confidence", markdown(head, rows))


def _measure(params: Params, work: Path) -> dict[tuple[str, float], tuple[float, float]]:
    """Content of the index and rate → percentages of queries without a match that have a result, and of others."""
    name = fingerprint(params.model_dump(mode="json"))
    if not (work / name / "fit").exists():
        shutil.rmtree(work / name, ignore_errors=True)
        describe(params, work, name)
    if not (work / name / CODEBOOK).exists():
        make_codebook(params, work / name / "fit", work / name / CODEBOOK, progress)
    described, found = _Described(open_dataset(work / "dataset"), work / name, params), {}
    for content in ("all photos", "one photo"):
        divisions = progress.over(range(_DIVISIONS), f"divisions of the identities, {content}")
        best = [described.search(np.random.default_rng(d), single=content == "one photo") for d in divisions]
        alarms, matches = (np.concatenate(part) for part in zip(*best, strict=True))
        found |= {(content, rate): (_share(alarms, 1 - rate), _share(matches, 1 - rate)) for rate in _RATES}
    return found


def _share(confidences: npt.NDArray[np.float64], least: float) -> float:
    return 100 * float(np.mean(confidences >= least))


@dataclass(frozen=True)
class _Described:
    """The photos with their descriptors.

    Args:
        dataset: of all photos.
        folder: of the model, the descriptors and the codebook.
        params: with which they were made.
    """

    dataset: Dataset
    folder: Path
    params: Params

    @property
    def labels(self) -> pd.Series:
        """Of all photos."""
        return self.dataset.images["label"]

    def divide(self, rng: np.random.Generator) -> tuple[Places, Places]:
        """The photos of a random half of the identities, and those of the other half."""
        usual = self.labels[~self.labels.str.startswith(_SHELVES)]
        identities = np.array(sorted(usual.unique()))
        inside = rng.permutation(identities)[: len(identities) // 2]
        chosen = usual.isin(list(inside)).to_numpy()
        places = usual.index.to_numpy(np.int64)
        return places[chosen], places[~chosen]

    def search(
        self, rng: np.random.Generator, *, single: bool
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The best confidence of each photo of the half that is no index, and of a match of each query of the other.

        Args:
            rng: divides the identities.
            single: whether the index holds one photo of each identity.
        """
        inside, outside = self.divide(rng)
        own = self.labels.iloc[inside]
        indexed = inside[~own.duplicated().to_numpy()] if single else inside
        queries = np.setdiff1d(inside, indexed) if single else inside
        images = self._store.read()
        with tempfile.TemporaryDirectory() as folder:
            searcher = self._index(images.take(indexed), indexed, Path(folder, "index"))
            alarms = _confidences(searcher, images.take(outside)).max(axis=1)
            confidences = _confidences(searcher, images.take(queries))
        labels = self.labels.to_numpy()
        matches = (labels[queries][:, None] == labels[indexed]) & (queries[:, None] != indexed)
        return alarms, np.where(matches, confidences, 0).max(axis=1)[matches.any(axis=1)]

    @property
    def _store(self) -> DescriptorStore:
        return open_descriptors(self.folder / "descriptors/database")

    def _index(self, images: Descriptors, places: Places, folder: Path) -> Searcher:
        folder.mkdir()
        backend = backend_of(self.params, self.folder / CODEBOOK)
        table = images_of(self.dataset, {}).iloc[places].reset_index(drop=True)
        table["image"] = range(len(table))
        parts = [backend.encode(images, table["name"].tolist())]
        backend.build(parts, len(table), self._store.sample, folder, {"model": "", "codebook": "", "dataset": ""})
        model = self.folder / "model.safetensors"
        complete_index(folder, self.params, model, self.folder / CODEBOOK, table, self.dataset.root)
        return Searcher(folder, SearchParams())


def _confidences(searcher: Searcher, queries: Descriptors) -> npt.NDArray[np.float64]:
    """The confidence of each image of the index, of shape (queries, images)."""
    searcher.require_calibration()
    calibration, ranking = searcher.calibration, searcher.search(queries)
    confidences = np.zeros((len(queries), searcher.index.images))
    for query, row in enumerate(confidences):
        images, scores = ranking.of_query(query)
        one = Ranking.from_queries([images], [scores])
        row[images] = 0 if calibration is None else calibration.confidences(one, 1)
    return confidences
