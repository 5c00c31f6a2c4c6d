"""Validation: mAP (medium) on a validation set, of the training descriptor or of ASMK."""

from dataclasses import replace
from typing import Protocol

import numpy as np
import torch

from lrcr.config.model import WhiteningParams
from lrcr.config.validation import ValidationCodebook, ValidationExtract, ValidationParams
from lrcr.data.dataset import Dataset, Ids, Photo, cluster_ids, empty_table, leave_one_out
from lrcr.data.ranking import Ranking
from lrcr.errors import DatasetError
from lrcr.evaluation.metrics import evaluate
from lrcr.features.extraction import sample_photos
from lrcr.features.store import Descriptors, draw_rows
from lrcr.retrieval.asmk.codebook import Codebook, learn_codebook
from lrcr.retrieval.asmk.images import aggregate_images
from lrcr.retrieval.asmk.once import search_once
from lrcr.runtime.device import faiss_uses_gpu
from lrcr.runtime.seeds import generator
from lrcr.training.descriptors import describe_globally, describe_locally
from lrcr.training.setup import Setup
from lrcr.training.whitening import learn_whitening_alone

HELD_OUT = 0.2


def hold_out(dataset: Dataset, seed: int) -> tuple[Ids, Dataset]:
    """Split a training set by landmark: 20 % of the landmarks with two or more images become the validation set.

    Returns:
        The clusters for training, and a dataset of the other clusters in which every image is a query (leave one out).

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


class Validator(Protocol):
    """Evaluates a model on a validation set."""

    def score(self) -> float:
        """The mAP (medium) of the current model in percent.

        Raises:
            DatasetError: no query has a positive.
        """
        ...


def make_validator(
    params: ValidationParams, setup: Setup, validation: Dataset, whitening: WhiteningParams | None = None
) -> Validator:
    """The validator that the params choose.

    Args:
        validation: must have queries with at least one positive.
        whitening: how a model learns its whitening before each validation by ASMK; None: it has learned it.

    Raises:
        DatasetError: the validation set has no queries.
    """
    if validation.queries.empty:
        raise DatasetError(f"{validation.name}: has no queries; give it labels or a ground truth, or unset data.val")
    by = params.by or ("asmk" if setup.model.supports("local descriptors") else "global")
    return AsmkValidator(params, setup, validation, whitening) if by == "asmk" else GlobalValidator(setup, validation)


class GlobalValidator:
    """Evaluates the training descriptor; see `Validator`."""

    def __init__(self, setup: Setup, validation: Dataset) -> None:
        self.setup = setup
        self.validation = validation

    def score(self) -> float:
        """See `Validator`."""
        model, maps = self.setup.model.eval(), self.setup.maps
        database = describe_globally(model, maps, self.validation.photos())
        queries = describe_globally(model, maps, self.validation.query_photos())
        similarity = (queries @ database.T).cpu().numpy()
        images = np.argsort(-similarity, axis=1, kind="stable")
        scores = np.take_along_axis(similarity, images, axis=1)
        return _map_medium(Ranking.from_queries(list(images), list(scores)), self.validation)


class AsmkValidator:
    """Evaluates ASMK; each call of `score` learns visual words on the training images. See `Validator`."""

    def __init__(
        self, params: ValidationParams, setup: Setup, validation: Dataset, whitening: WhiteningParams | None = None
    ) -> None:
        self.params = params
        self.whitening = whitening
        self.setup = setup
        self.validation = validation
        self.maps = setup.maps.at(params.extract.image_size)

    @torch.inference_mode()
    def score(self) -> float:
        """See `Validator`."""
        self.setup.model.eval()
        if self.whitening is not None:
            self._learn_whitening(self.whitening)
        learned, extract = self.params.codebook, self.params.extract
        sample = sample_photos(self.setup.images.photos, learned.images, self.setup.seed)
        fit = self._describe(sample, learned)
        # A query that is an image of the database is described once.
        parts = (self.validation.photos(), self.validation.query_photos())
        row = {photo: row for row, photo in enumerate(dict.fromkeys(photo for photos in parts for photo in photos))}
        described = self._describe(list(row), extract)
        database, queries = (described.take([row[photo] for photo in photos]) for photos in parts)
        seeds = range(learned.seed, learned.seed + self.params.codebooks)
        return float(np.mean([self._search(self._learn_codebook(fit, seed), database, queries) for seed in seeds]))

    def _learn_whitening(self, settings: WhiteningParams) -> None:
        setup = self.setup
        learn_whitening_alone(setup.model, setup.maps, setup.images.photos, settings, setup.seed)

    def _describe(self, photos: list[Photo], settings: ValidationExtract | ValidationCodebook) -> Descriptors:
        return describe_locally(self.setup.model, self.maps, photos, settings.scales, settings.max_descriptors)

    def _learn_codebook(self, fit: Descriptors, seed: int) -> Codebook:
        words, settings = self.params.codebook.words, self.params.codebook
        rows = draw_rows(len(fit.descriptors), settings.per_word * words, generator(seed, "codebook sample"))
        gpu = faiss_uses_gpu(self.setup.device.type)
        return learn_codebook(
            fit.descriptors[rows], words, iterations=settings.iterations, seed=seed, exact=False, gpu=gpu
        )

    def _search(self, codebook: Codebook, database: Descriptors, queries: Descriptors) -> float:
        search, words = self.params.search, len(codebook.centroids)
        ranking = search_once(
            aggregate_images(database, codebook, 1, binary=True),
            aggregate_images(queries, codebook, search.multiple_assignment, binary=True),
            words,
            alpha=search.alpha,
            tau=search.tau,
            idf=search.idf,
        )
        return _map_medium(ranking, self.validation)


def _map_medium(ranking: Ranking, dataset: Dataset) -> float:
    score = evaluate(ranking, dataset.relevance, len(dataset.queries)).map["medium"]
    if score is None:
        raise DatasetError(f"{dataset.name}: no query has a positive; grade some images easy or hard")
    return score
