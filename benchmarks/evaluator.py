"""Evaluation of models that share one frozen trunk: its feature maps are computed once and stored."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from lrcr.config.params import Params
from lrcr.data.dataset import open_dataset
from lrcr.evaluation.metrics import evaluate
from lrcr.evaluation.per_query import tabulate_queries
from lrcr.evaluation.protocol import SETUPS
from lrcr.features.extraction import sample_photos
from lrcr.features.store import Descriptors, draw_rows
from lrcr.models.local import LocalModel
from lrcr.retrieval.asmk.aggregation import Aggregated, aggregate
from lrcr.retrieval.asmk.codebook import Codebook, learn_codebook
from lrcr.retrieval.asmk.once import search_once
from lrcr.training.descriptors import describe_locally
from lrcr.training.maps import Maps

Words = npt.NDArray[np.int32]


class Setting(NamedTuple):
    """How a model is evaluated.

    Args:
        share: number of descriptors per image, as a multiple of `extract.max_descriptors`.
        tau: `search.tau`.
    """

    share: float = 1.0
    tau: float = 0.0


@dataclass(frozen=True)
class Scored:
    """The evaluation of one model in one setting.

    Args:
        table: AP of each query (`lrcr.evaluation.per_query`).
        words: visual words per image.
    """

    table: pd.DataFrame
    words: float


class Evaluator:
    """Evaluates models that share one trunk, all on the same photos.

    Args:
        params: of which `extract`, `codebook`, `index` and `search` are used.
        maps: of the trunk, for photos of `extract.image_size`.
        evaluated: folder of the dataset that is searched; its codebook is learned from its photos too.
        codebooks: number of codebooks over which a score is averaged. The codebook's seed changes mAP more than most
            of what is compared here.
    """

    def __init__(self, params: Params, maps: Maps, evaluated: Path, codebooks: int = 1) -> None:
        self.params, self.maps, self.codebooks = params, maps, codebooks
        self.dataset = open_dataset(evaluated)
        self.identity = [self.dataset.fingerprint, codebooks]
        photos = self.dataset.photos()
        self.fit_photos = sample_photos(photos, params.codebook.images, params.seed)
        # A query that is a whole image of the database is described once.
        separate = self.dataset.queries["x0"].notna() | self.dataset.queries["image"].isna()
        cropped = [photo for photo, own in zip(self.dataset.query_photos(), separate, strict=True) if own]
        self.rows = self.dataset.queries["image"].fillna(-1).to_numpy(np.int64).copy()
        self.rows[separate.to_numpy()] = len(photos) + np.arange(len(cropped))
        self.photos = photos + cropped

    @torch.inference_mode()
    def score(self, model: LocalModel, settings: Sequence[Setting], seed: int) -> dict[Setting, Scored]:
        """Evaluate a model, which is ready for inference, in several settings with the codebooks of one seed."""
        largest = max(self._count(setting) for setting in settings)
        images = describe_locally(model, self.maps, self.photos, self.params.scales, largest)
        count = self.params.codebook.max_descriptors
        fit = describe_locally(model, self.maps, self.fit_photos, self.params.fit_scales, count)
        runs = [
            self._search(images, self._learn_codebook(fit.descriptors, seed * self.codebooks + number), settings)
            for number in range(self.codebooks)
        ]
        return {setting: _mean([run[setting] for run in runs]) for setting in settings}

    def _count(self, setting: Setting) -> int:
        return round(setting.share * self.params.extract.max_descriptors)

    def _learn_codebook(self, descriptors: np.ndarray, seed: int) -> Codebook:
        codebook = self.params.codebook
        sample = draw_rows(len(descriptors), codebook.per_word * codebook.words, np.random.default_rng(seed))
        return learn_codebook(
            descriptors[sample], codebook.words, iterations=codebook.iterations, seed=seed, exact=False
        )

    def _search(self, described: Descriptors, codebook: Codebook, settings: Sequence[Setting]) -> dict[Setting, Scored]:
        search, scored = self.params.search, {}
        words = codebook.assign(described.descriptors, search.multiple_assignment)
        for count in {self._count(setting) for setting in settings}:
            database = self._aggregate(described, words[:, : self.params.index.multiple_assignment], codebook, count)
            queries = self._aggregate(described, words, codebook, count)
            parts = (take_images(database, np.arange(len(self.dataset.images))), take_images(queries, self.rows))
            for setting in (setting for setting in settings if self._count(setting) == count):
                ranking = search_once(
                    *parts, len(codebook.centroids), alpha=search.alpha, tau=setting.tau, idf=search.idf
                )
                evaluation = evaluate(ranking, self.dataset.relevance, len(self.dataset.queries))
                table = tabulate_queries(evaluation, self.dataset)
                scored[setting] = Scored(table, len(parts[0].words) / parts[0].count)
        return scored

    def _aggregate(self, described: Descriptors, words: Words, codebook: Codebook, count: int) -> Aggregated:
        """The postings of the strongest `count` descriptors of each image."""
        sizes = np.minimum(np.diff(described.offsets), count)
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        rows = np.repeat(described.offsets[:-1] - offsets[:-1], sizes) + np.arange(offsets[-1])
        binary = self.params.index.binary
        return aggregate(described.descriptors[rows], words[rows], offsets, codebook.centroids, binary=binary)


def take_images(part: Aggregated, images: npt.NDArray[np.int64]) -> Aggregated:
    """The postings of some images of a batch, in the given order."""
    starts, sizes = part.offsets[images], np.diff(part.offsets)[images]
    rows = np.repeat(starts - np.cumsum(sizes) + sizes, sizes) + np.arange(sizes.sum())
    owners = np.repeat(np.arange(len(images), dtype=np.uint32), sizes)
    return replace(part, words=part.words[rows], images=owners, vectors=part.vectors[rows], count=len(images))


def _mean(runs: Sequence[Scored]) -> Scored:
    """The mean AP of each query, and the mean number of words."""
    tables = [run.table for run in runs]
    means = {setup: np.mean([table[setup] for table in tables], axis=0) for setup in SETUPS}
    return Scored(tables[0].assign(**means), float(np.mean([run.words for run in runs])))
