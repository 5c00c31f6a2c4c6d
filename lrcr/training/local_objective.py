"""The objective of local models: losses of the training descriptor and of the ranking by ASMK's score."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lrcr.config.tuples import TuplesParams
from lrcr.data.dataset import Ids, Photo
from lrcr.features.store import Descriptors, Floats, draw_rows
from lrcr.losses.asmk import SoftAggregation, aggregate, ranking_loss, score_matrix
from lrcr.losses.contrastive import contrastive_loss
from lrcr.models.local import Candidates, LocalModel, Pyramid
from lrcr.retrieval.asmk.codebook import Codebook, learn_codebook
from lrcr.retrieval.asmk.images import aggregate_images
from lrcr.retrieval.asmk.once import search_once
from lrcr.runtime import distributed
from lrcr.runtime.seeds import derive_seed, generator
from lrcr.training.descriptors import describe_locally
from lrcr.training.groups import group_pairs, similar_clusters
from lrcr.training.setup import Setup

_ITERATIONS = 10  # of k-means; few are enough for words that are used in one epoch
_NEAREST = 100  # images of the pool among which the similar clusters of an image are
_QUERY_WORDS = 5  # of a query's descriptor, as in HOW, where similar clusters are searched


class LocalObjective:
    """The weighted sum of the losses of `train.tuples.losses`; see `lrcr.training.objective.Objective`.

    Args:
        model: that of `setup`.
        setup: images, the maps from which visual words are learned, and the seed.
        settings: losses, margin and scales.
        bandwidth_penalty: weight of the mean bandwidth of learnable smoothing in the loss.
    """

    def __init__(
        self,
        model: LocalModel,
        setup: Setup,
        settings: TuplesParams,
        bandwidth_penalty: float,
    ) -> None:
        self.model = model
        self.maps, self.images, self.seed = setup.maps, setup.images, setup.seed
        self.settings = settings
        self.bandwidth_penalty = bandwidth_penalty
        self.codebooks: list[Tensor] = []
        self.steps = 0
        self.similar: dict[int, Ids] = {}

    @property
    def compares_tuples(self) -> bool:
        """See `Objective`: the loss of ASMK's score compares all images of a batch."""
        return self.settings.losses.asmk > 0

    @property
    def margin(self) -> float | None:
        """See `Objective`."""
        return self.settings.margin if self.settings.losses.contrastive else None

    @torch.no_grad()
    def on_epoch_start(self, pool: Sequence[Photo], epoch: int) -> None:
        """If the loss needs them, learn the visual words of this epoch.

        The words are learned from the strongest descriptors of the pool; each step takes the next codebook. With
        groups, also find the clusters of the pool that are most similar to each other by ASMK's score.
        """
        if self.settings.losses.asmk:
            codebooks, self.similar = distributed.broadcast(lambda: self._look_at_pool(pool, epoch))
            device = self.model.whitening.bias.device
            self.codebooks, self.steps = [torch.from_numpy(words).to(device) for words in codebooks], 0

    def order(self, pairs: Ids, size: int) -> Ids:
        """See `Objective`: with groups, every second step compares pairs of similar clusters."""
        group = self.settings.group_size
        return pairs if group == 1 else group_pairs(pairs, self.images.clusters, self.similar, size, group)

    def _look_at_pool(self, pool: Sequence[Photo], epoch: int) -> tuple[list[Floats], dict[int, Ids]]:
        """The visual words of each codebook, and with groups the similar clusters of each cluster."""
        self.model.eval()  # whatever ran before: a validation, or nothing
        losses = self.settings.losses
        described = describe_locally(self.model, self.maps, pool, self.settings.scales, losses.max_descriptors)
        codebooks = [self._learn_codebook(described, epoch, number) for number in range(losses.codebooks)]
        words = [codebook.centroids for codebook in codebooks]
        if self.settings.group_size == 1:
            return words, {}
        database, queries = (aggregate_images(described, codebooks[0], k, binary=True) for k in (1, _QUERY_WORDS))
        cluster_of = dict(zip(self.images.photos, self.images.clusters.tolist(), strict=True))
        ranking = search_once(database, queries, len(words[0]), top=_NEAREST)
        return words, similar_clusters(ranking, np.array([cluster_of[photo] for photo in pool], np.int64))

    def _learn_codebook(self, described: Descriptors, epoch: int, number: int) -> Codebook:
        name = (epoch, number) if number else (epoch,)
        words, seed = self.settings.losses.words, derive_seed(self.seed, "words", *name) % 2**31
        sample = draw_rows(len(described.descriptors), 64 * words, generator(self.seed, "word sample", *name))
        return learn_codebook(described.descriptors[sample], words, iterations=_ITERATIONS, seed=seed, exact=False)

    def embed(self, maps: Sequence[Tensor]) -> list[Pyramid]:
        """The contexts of each of B images, from the backbone's maps of shape (B, C, H, W) at each scale."""
        contexts = [self.model.context(features) for features in maps]
        return [[context.of_image(row) for context in contexts] for row in range(len(maps[0]))]

    def loss(self, tuples: Ids, pyramids: Sequence[Pyramid]) -> Tensor:
        """The loss of tuples of shape (T, 2 + N), from the pyramid of each of their images, in order."""
        settings = self.settings
        losses, loss = settings.losses, self.model.whitening.bias.new_zeros(())
        if losses.contrastive:
            vectors = torch.cat([self.model.pool(pyramid) for pyramid in pyramids]).view(*tuples.shape, -1)
            query, positive, negatives = vectors[:, 0], vectors[:, 1], vectors[:, 2:]
            loss = losses.contrastive * contrastive_loss(query, positive, negatives, settings.margin)
        if losses.asmk:
            local = [self.model.candidates(pyramid, losses.max_descriptors) for pyramid in pyramids]
            loss = loss + losses.asmk * self._ranking_loss(tuples, local)
        if self.bandwidth_penalty:
            filters = [context.filter for pyramid in pyramids for context in pyramid]
            bandwidths = [filter_.bandwidth.mean() for filter_ in filters if filter_ is not None]
            if bandwidths:
                loss = loss + self.bandwidth_penalty * torch.stack(bandwidths).sum() / len(settings.scales)
        return loss

    def _ranking_loss(self, tuples: Ids, images: Sequence[Candidates]) -> Tensor:
        """The loss of the ranking of all images of a batch by ASMK's score, for each query and each positive."""
        words = self.codebooks[self.steps % len(self.codebooks)]
        self.steps += 1
        mine = aggregate(images, words, self.settings.losses.soft_words)
        every = SoftAggregation(distributed.gather_rows(mine.residuals), distributed.gather_rows(mine.presence))
        clusters = torch.from_numpy(self.images.clusters[tuples.ravel()]).to(words.device)
        every_cluster = distributed.gather_rows(clusters)
        queries = torch.arange(0, len(images), tuples.shape[1], device=words.device)
        rows, partners = torch.cat([queries, queries + 1]), torch.cat([queries + 1, queries])
        first = distributed.rank() * len(images)
        scores = score_matrix(every)[first + rows]
        negatives = clusters[rows, None] != every_cluster
        return ranking_loss(scores, first + partners, negatives, self.settings.losses.temperature) / 2
