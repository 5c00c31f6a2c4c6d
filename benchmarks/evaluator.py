"""Evaluation of models that share one frozen trunk: its feature maps are computed once."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from lrcr.cli.terminal import progress
from lrcr.config.params import Params
from lrcr.data.dataset import Photo, open_dataset
from lrcr.data.loading import load_batches
from lrcr.data.ranking import Ranking
from lrcr.evaluation.metrics import evaluate
from lrcr.evaluation.per_query import tabulate_queries
from lrcr.evaluation.protocol import SETUPS
from lrcr.features.extraction import sample_photos
from lrcr.features.store import Descriptors, join
from lrcr.models.descriptors import resize, scales_that_fit
from lrcr.models.local import LocalModel
from lrcr.models.model import Model
from lrcr.retrieval.asmk.codebook import Codebook, learn_codebook
from lrcr.retrieval.asmk.images import aggregate_images
from lrcr.retrieval.asmk.index import build_index, open_index
from lrcr.retrieval.asmk.segments import Layout


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
        trunk: any model with this trunk.
        evaluated: folder of the dataset that is searched.
        fit: folder of the dataset that the codebook is learned from; None: the same as `evaluated`.
        codebooks: number of codebooks over which a score is averaged. The codebook's seed changes mAP more than most
            of what is compared here.
    """

    def __init__(
        self, params: Params, trunk: Model, evaluated: Path, fit: Path | None = None, codebooks: int = 1
    ) -> None:
        self.params, self.codebooks = params, codebooks
        self.dataset = open_dataset(evaluated)
        fit_dataset = open_dataset(fit or evaluated)
        self.identity = [self.dataset.fingerprint, fit_dataset.fingerprint, codebooks]
        fit_photos = sample_photos(fit_dataset.photos(), params.codebook.images, params.seed)
        separate = self.dataset.queries["x0"].notna() | self.dataset.queries["image"].isna()
        cropped = [photo for photo, own in zip(self.dataset.query_photos(), separate, strict=True) if own]
        self.rows = self.dataset.queries["image"].to_numpy(float, na_value=-1).copy()
        self.rows[separate.to_numpy()] = len(self.dataset.images) + np.arange(len(cropped))
        size, scales = params.extract.image_size, params.scales
        self.maps = _compute_maps(trunk, self.dataset.photos() + cropped, size, scales)
        self.fit_maps = _compute_maps(trunk, fit_photos, size, params.fit_scales)

    def score(self, model: LocalModel, settings: Sequence[Setting], seed: int) -> dict[Setting, Scored]:
        """Evaluate a model, which is ready for inference, in several settings with the codebooks of one seed."""
        scales, count = self.params.fit_scales, self.params.codebook.max_descriptors
        fit = join([_describe(model, maps, scales, count) for maps in self.fit_maps])
        largest = max(self._count(setting) for setting in settings)
        described = [_describe(model, maps, self.params.scales, largest) for maps in self.maps]
        runs = [
            self._search(described, self._learn_codebook(fit.descriptors, seed * self.codebooks + number), settings)
            for number in range(self.codebooks)
        ]
        return {setting: _mean([run[setting] for run in runs]) for setting in settings}

    def _count(self, setting: Setting) -> int:
        return round(setting.share * self.params.extract.max_descriptors)

    def _learn_codebook(self, descriptors: np.ndarray, seed: int) -> Codebook:
        codebook = self.params.codebook
        sample = np.random.default_rng(seed).permutation(len(descriptors))[: codebook.per_word * codebook.words]
        return learn_codebook(descriptors[np.sort(sample)], codebook.words, iterations=codebook.iterations, seed=seed)

    def _search(
        self, described: Sequence[Descriptors], codebook: Codebook, settings: Sequence[Setting]
    ) -> dict[Setting, Scored]:
        index, search, scored = self.params.index, self.params.search, {}
        for count in {self._count(setting) for setting in settings}:
            images = join([_strongest(image, count) for image in described])
            database = images.take(range(len(self.dataset.images)))
            queries = images.take([int(row) for row in self.rows])
            with tempfile.TemporaryDirectory() as folder:
                postings = aggregate_images(database, codebook, index.multiple_assignment, binary=index.binary)
                layout = Layout(len(codebook.centroids), codebook.centroids.shape[1], index.binary)
                build_index(Path(folder), [postings], layout, params={}, inputs={})
                opened = open_index(Path(folder))
                asked = aggregate_images(queries, codebook, search.multiple_assignment, binary=index.binary)
                for setting in (setting for setting in settings if self._count(setting) == count):
                    found, scores, offsets = opened.search(asked, alpha=search.alpha, tau=setting.tau, idf=search.idf)
                    ranking = Ranking(np.repeat(np.arange(len(self.rows)), np.diff(offsets)), found, scores)
                    evaluation = evaluate(ranking, self.dataset.relevance, len(self.dataset.queries))
                    words = float(opened.manifest.facts["words_per_image"])
                    scored[setting] = Scored(tabulate_queries(evaluation, self.dataset), words)
        return scored


@torch.inference_mode()
def _compute_maps(
    model: Model, photos: Sequence[Photo], image_size: int, scales: Sequence[float]
) -> list[list[torch.Tensor]]:
    """The trunk's map of each photo at each scale that leaves at least one pixel: float16, of shape (1, C, H, W)."""
    found: dict[int, list[torch.Tensor]] = {}
    with progress.task("compute maps", len(photos)) as task:
        for batch in load_batches(photos, image_size, 8):
            images = batch.images.contiguous(memory_format=torch.channels_last)
            maps = [model.backbone(resize(images, scale)).half() for scale in scales_that_fit(images, scales)]
            for row, position in enumerate(batch.positions):
                found[position] = [m[row : row + 1].clone() for m in maps]
                task.advance()
    return [found[position] for position in range(len(photos))]


@torch.inference_mode()
def _describe(model: LocalModel, maps: Sequence[torch.Tensor], scales: Sequence[float], count: int) -> Descriptors:
    wide = [m.float().contiguous(memory_format=torch.channels_last) for m in maps]
    [local] = model.describe_maps(wide, list(scales)[: len(maps)], count)
    return Descriptors(
        local.descriptors.numpy(),
        local.strength.numpy(),
        local.position.numpy(),
        local.scale.numpy(),
        np.array([0, len(local.strength)], np.int64),
    )


def _strongest(image: Descriptors, count: int) -> Descriptors:
    kept = slice(0, count)
    rows = len(image.strength[kept])
    return Descriptors(
        image.descriptors[kept], image.strength[kept], image.xy[kept], image.scale[kept], np.array([0, rows], np.int64)
    )


def _mean(runs: Sequence[Scored]) -> Scored:
    """The mean AP of each query, and the mean number of words."""
    tables = [run.table for run in runs]
    means = {setup: np.mean([table[setup] for table in tables], axis=0) for setup in SETUPS}
    return Scored(tables[0].assign(**means), float(np.mean([run.words for run in runs])))
