"""The objective of global models: the contrastive loss, or SOLAR's triplet loss with second-order similarity."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from lrcr.data.dataset import Ids, Photo
from lrcr.losses.contrastive import contrastive_loss
from lrcr.losses.second_order import second_order_loss
from lrcr.losses.triplet import triplet_loss
from lrcr.models.model import Model


class VectorLoss(Protocol):
    """A loss over tuples of unit vectors."""

    def __call__(self, queries: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """The summed loss: queries and positives have the shape (T, D), negatives (T, N, D)."""
        ...


@dataclass(frozen=True)
class ContrastiveLoss:
    """`lrcr.losses.contrastive.contrastive_loss` with a weight."""

    weight: float
    margin: float

    def __call__(self, queries: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """See `VectorLoss`."""
        return self.weight * contrastive_loss(queries, positives, negatives, self.margin)


@dataclass(frozen=True)
class SolarLoss:
    """SOLAR's loss (Ng et al., ECCV 2020): the triplet loss plus `second_order` times the second-order loss."""

    margin: float
    second_order: float

    def __call__(self, queries: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """See `VectorLoss`."""
        similarity = second_order_loss(queries, positives, negatives)
        return triplet_loss(queries, positives, negatives, self.margin) + self.second_order * similarity


class GlobalObjective:
    """A loss of the vectors of a global model; see `lrcr.training.objective.Objective`.

    Args:
        model: on the device of the training.
        vector_loss: the loss of the vectors of tuples.
        margin: of a contrastive loss.
    """

    def __init__(self, model: Model, vector_loss: VectorLoss, margin: float | None = None) -> None:
        self.model = model
        self.vector_loss = vector_loss
        self.margin = margin

    compares_tuples = False

    def on_epoch_start(self, pool: Sequence[Photo], epoch: int) -> None:
        """Do nothing: this objective needs no preparation."""

    def order(self, pairs: Ids, size: int) -> Ids:
        """The pairs in the given order: each tuple has negatives of its own."""
        return pairs

    def embed(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The vector of each image, of shape (1, D), from the backbone's maps of shape (B, C, H, W) at each scale."""
        mean = torch.stack([self.model.embed(features) for features in maps]).mean(dim=0)
        return list(torch.split(F.normalize(mean, dim=1), 1))

    def loss(self, tuples: Ids, embedded: Sequence[Tensor]) -> Tensor:
        """The loss of tuples of shape (T, 2 + N), from the vector of each of their images, in order."""
        vectors = torch.cat(list(embedded)).view(*tuples.shape, -1)
        return self.vector_loss(vectors[:, 0], vectors[:, 1], vectors[:, 2:])
