"""Real photos: how often queries without a match in an index have results, beside the stated rates; matches found.

The identities of `more-photos/` are divided in two at random, several times. One half is the index, whose photos all
have a match in it, and a query each; the photos of the other half are the queries without a match. Those of the shop's
shelves are left out, because two identities can be on one photo. Needs `LRCR_TEST_DATA`: a folder with `more-photos/`.
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
        for rate, values in _measure(load_params(None, [*overrides, "train.epochs=0"]), work).items():
            names = ("queries without a match that have a result, %", "queries with a match that find one, %")
            for name, value in zip(names, values, strict=True):
                yield Value(f"{kind}, confidence {1 - rate:g}: {name}", value)
            rows.append([kind, f"{1 - rate:g}", f"{100 * rate:g} %", *(f"{value:.1f} %" for value in values)])
    head = ["index", "`--min-confidence`", "false alarms, stated", "false alarms, measured", "matches found"]
    write("confidence", markdown(head, rows))


def _measure(params: Params, work: Path) -> dict[float, tuple[float, float]]:
    """Rate → percentages of queries without a match that have a result, and of others that find a match."""
    name = fingerprint(params.model_dump(mode="json"))
    if not (work / name / "fit").exists():
        shutil.rmtree(work / name, ignore_errors=True)
        describe(params, work, name)
    if not (work / name / CODEBOOK).exists():
        make_codebook(params, work / name / "fit", work / name / CODEBOOK, progress)
    described = _Described(open_dataset(work / "dataset"), work / name, params)
    alarms, found = [], []
    for division in progress.over(range(_DIVISIONS), "divisions of the identities"):
        inside, outside = described.divide(np.random.default_rng(division))
        one, other = described.search(inside, outside)
        alarms.append(one)
        found.append(other)
    best = np.concatenate(alarms), np.concatenate(found)
    return {rate: (_share(best[0], 1 - rate), _share(best[1], 1 - rate)) for rate in _RATES}


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

    def search(self, inside: Places, outside: Places) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """The best confidence of each photo outside, and of a match, other than itself, of each photo inside."""
        images = self._store.read()
        with tempfile.TemporaryDirectory() as folder:
            searcher = self._index(images.take(inside), inside, Path(folder, "index"))
            alarms = _confidences(searcher, images.take(outside)).max(axis=1)
            confidences = _confidences(searcher, images.take(inside))
        labels = self.labels.to_numpy()[inside]
        matches = (labels[:, None] == labels) & ~np.eye(len(inside), dtype=bool)
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
