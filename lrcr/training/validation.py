"""Comparing epochs: mAP (medium) on a validation set, of the global descriptor or of ASMK."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lrcr.config.params import Params
from lrcr.data.dataset import Dataset, Ids, Photo, cluster_ids, empty_table, leave_one_out
from lrcr.data.ranking import Ranking
from lrcr.errors import DatasetError
from lrcr.evaluation.metrics import evaluate
from lrcr.features.extraction import extract_photos, sample_photos
from lrcr.features.store import Descriptors
from lrcr.models.factory import Model
from lrcr.retrieval.asmk import Layout, build_index, learn_codebook, open_index
from lrcr.retrieval.asmk.engine import aggregate_images
from lrcr.runtime.seeds import generator
from lrcr.training.maps import Maps, describe_globally

HELD_OUT = 0.2


def hold_out(dataset: Dataset, seed: int) -> tuple[Ids, Dataset]:
    """Split a training set by landmark: 20 % of those with two images or more become the validation set.

    Returns:
        The clusters left for training, and a dataset of the others in which every image is a query (leave one out).

    Raises:
        DatasetError: fewer than two landmarks have two images.
    """
    clusters = cluster_ids(dataset)
    ids, sizes = np.unique(clusters, return_counts=True)
    landmarks = ids[sizes > 1]
    if len(landmarks) < 2:
        raise DatasetError(
            f"{dataset.name}: validation holds out landmarks, but {len(landmarks)} have two labelled images; "
            "label more photos (labels.csv) or name a validation set"
        )
    count = max(1, round(HELD_OUT * len(landmarks)))
    chosen = generator(seed, "held out").choice(landmarks, count, replace=False)
    held = dataset.images[np.isin(clusters, chosen)].reset_index(drop=True).assign(image=lambda rows: rows.index)
    queries, relevance = leave_one_out(held)
    validation = replace(dataset, images=held, queries=queries, relevance=relevance, pairs=empty_table("pairs"))
    return np.setdiff1d(ids, chosen), validation


class Validator:
    """Scores a model on a validation set.

    Args:
        params: `train.validation` says how.
        model: on `device`.
        maps: where the trunk's maps of the global descriptor come from.
        training: photos on which ASMK's codebook is learned.
        validation: needs queries with at least one positive.

    Raises:
        DatasetError: the validation set has no queries.
    """

    def __init__(
        self,
        params: Params,
        model: Model,
        maps: Maps,
        training: Sequence[Photo],
        validation: Dataset,
        device: torch.device,
    ) -> None:
        if validation.queries.empty:
            raise DatasetError(
                f"{validation.name}: has no queries; give it labels or a ground truth, or unset data.val"
            )
        self.params = params
        self.model = model
        self.maps = maps
        self.training = training
        self.validation = validation
        self.device = device

    def score(self) -> float:
        """MAP (medium) in percent.

        Raises:
            DatasetError: no query has a positive.
        """
        self.model.eval()
        by_asmk = self.params.train.validation.by == "asmk"
        ranking = self._rank_by_asmk() if by_asmk else self._rank_globally()
        score = evaluate(ranking, self.validation.relevance, len(self.validation.queries)).map["medium"]
        if score is None:
            raise DatasetError(f"{self.validation.name}: no query has a positive; grade some images easy or hard")
        return score

    def _rank_globally(self) -> Ranking:
        database = describe_globally(self.model, self.maps, self.validation.photos())
        queries = describe_globally(self.model, self.maps, self.validation.query_photos())
        similarity = (queries @ database.T).cpu().numpy()
        images = np.argsort(-similarity, axis=1, kind="stable")
        return Ranking.from_queries(list(images), list(np.take_along_axis(similarity, images, axis=1)))

    def _rank_by_asmk(self) -> Ranking:
        params = self.params
        seen = sample_photos(self.training, params.codebook.images, params.seed)
        fit = self._extract(seen, params.fit_scales, params.codebook.descriptors)
        iterations, seed = params.codebook.iterations, params.codebook.seed
        words = params.train.validation.words
        gpu = self.device.type == "cuda"
        codebook = learn_codebook(fit.descriptors, words, iterations=iterations, seed=seed, gpu=gpu)
        settings, binary = params.search, params.index.binary
        database, queries = (
            aggregate_images(
                self._extract(photos, params.scales, params.extract.descriptors),
                codebook,
                assignment,
                binary=binary,
            )
            for photos, assignment in (
                (self.validation.photos(), params.index.assignment),
                (self.validation.query_photos(), settings.assignment),
            )
        )
        with tempfile.TemporaryDirectory() as folder:
            layout = Layout(len(codebook.centroids), codebook.centroids.shape[1], binary)
            build_index(Path(folder), [database], layout, params={}, inputs={})
            images, scores, offsets = open_index(Path(folder)).search(
                queries, alpha=settings.alpha, tau=settings.tau, idf=settings.idf
            )
        return Ranking(np.repeat(np.arange(queries.count), np.diff(offsets)), images, scores)

    def _extract(self, photos: list[Photo], scales: list[float], strongest: int) -> Descriptors:
        size = self.params.extract.image_size
        return extract_photos(
            self.model, photos, image_size=size, scales=scales, strongest=strongest, device=self.device
        )
