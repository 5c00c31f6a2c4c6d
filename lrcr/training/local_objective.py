"""The objective of local models: losses of the training descriptor, of local matches and of the ASMK score."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lrcr.config.training import TuplesParams
from lrcr.data.dataset import Ids, Photo
from lrcr.losses.asmk import SoftAggregation, aggregate, ranking_loss, score_matrix
from lrcr.losses.contrastive import contrastive_loss
from lrcr.losses.matches import match_loss
from lrcr.models.local import Candidates, LocalModel, Pyramid
from lrcr.retrieval.asmk.codebook import learn_codebook
from lrcr.runtime import distributed
from lrcr.runtime.seeds import derive_seed, generator
from lrcr.training.maps import Maps

_ITERATIONS = 10  # of k-means; few are enough for words that are used in one epoch


class LocalObjective:
    """The weighted sum of the losses of `train.tuples.losses`; see `lrcr.training.objective.Objective`.

    Args:
        model: on the device of the training.
        maps: the source of the maps from which visual words are learned.
        clusters: of the training images, of shape (n,).
        settings: losses, margin and scales.
        bandwidth_penalty: weight of the mean bandwidth of learnable smoothing in the loss.
        seed: of the visual words.
    """

    def __init__(
        self,
        model: LocalModel,
        maps: Maps,
        clusters: Ids,
        settings: TuplesParams,
        bandwidth_penalty: float,
        seed: int,
    ) -> None:
        self.model = model
        self.maps = maps
        self.clusters = clusters
        self.settings = settings
        self.bandwidth_penalty = bandwidth_penalty
        self.seed = seed
        self.words: Tensor | None = None

    @property
    def compares_tuples(self) -> bool:
        """See `Objective`: the loss of ASMK's score compares all images of a batch."""
        return self.settings.losses.asmk > 0

    @torch.no_grad()
    def on_epoch_start(self, pool: Sequence[Photo], epoch: int) -> None:
        """If the loss needs them, learn the visual words of this epoch from the strongest descriptors of the pool."""
        if self.settings.losses.asmk:
            words = distributed.broadcast(lambda: self._learn_words(pool, epoch))
            self.words = torch.from_numpy(words).to(self.model.whitening.bias.device)

    def _learn_words(self, pool: Sequence[Photo], epoch: int) -> npt.NDArray[np.float32]:
        self.model.eval()  # whatever ran before: a validation, or nothing
        losses, seed = self.settings.losses, derive_seed(self.seed, "words", epoch) % 2**31
        found = []
        scales = self.settings.scales
        for _, maps in self.maps.batches(pool, scales=scales):
            described = self.model.describe_maps(maps, scales[: len(maps)], losses.max_descriptors)
            found += [local.descriptors.cpu().numpy() for local in described]
        descriptors = np.concatenate(found)
        kept = generator(self.seed, "word sample", epoch).permutation(len(descriptors))[: 64 * losses.words]
        return learn_codebook(
            descriptors[np.sort(kept)], losses.words, iterations=_ITERATIONS, seed=seed, exact=False
        ).centroids

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
        if losses.matches or losses.asmk:
            local = [self.model.candidates(pyramid, losses.max_descriptors) for pyramid in pyramids]
            if losses.matches:
                for start in range(0, len(local), tuples.shape[1]):
                    loss = loss + losses.matches * self._match_loss(*local[start : start + tuples.shape[1]])
            if losses.asmk:
                loss = loss + losses.asmk * self._ranking_loss(tuples, local)
        if self.bandwidth_penalty:
            filters = [context.filter for pyramid in pyramids for context in pyramid]
            bandwidths = [filter_.bandwidth.mean() for filter_ in filters if filter_ is not None]
            if bandwidths:
                loss = loss + self.bandwidth_penalty * torch.stack(bandwidths).sum() / len(settings.scales)
        return loss

    def _match_loss(self, *images: Candidates) -> Tensor:
        """The loss of the matches of one tuple: query, positive, negatives."""
        query, positive, *negatives = (image.descriptors[: self.settings.losses.max_descriptors] for image in images)
        return match_loss(query, positive, negatives, self.settings.margin)

    def _ranking_loss(self, tuples: Ids, images: Sequence[Candidates]) -> Tensor:
        """The loss of the ranking of all images of a batch by ASMK's score, for each query and each positive."""
        assert self.words is not None, "on_epoch_start learns the words"
        mine = aggregate(images, self.words)
        every = SoftAggregation(distributed.gather_rows(mine.residuals), distributed.gather_rows(mine.presence))
        clusters = torch.from_numpy(self.clusters[tuples.ravel()]).to(self.words.device)
        every_cluster = distributed.gather_rows(clusters)
        queries = torch.arange(0, len(images), tuples.shape[1], device=self.words.device)
        rows, partners = torch.cat([queries, queries + 1]), torch.cat([queries + 1, queries])
        first = distributed.rank() * len(images)
        scores = score_matrix(every)[first + rows]
        negatives = clusters[rows, None] != every_cluster
        return ranking_loss(scores, first + partners, negatives, self.settings.losses.temperature) / 2
