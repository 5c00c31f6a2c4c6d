"""The objective of a global model: the contrastive loss, or SOLAR's triplets with second-order similarity."""

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
    """A loss of unit vectors."""

    def __call__(self, queries: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """The summed loss of queries and positives of shape (T, D) and negatives of shape (T, N, D)."""
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
    """Triplets with second-order similarity (Ng et al., ECCV 2020), which has a weight."""

    margin: float
    second_order: float

    def __call__(self, queries: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
        """See `VectorLoss`."""
        similarity = second_order_loss(queries, positives, negatives)
        return triplet_loss(queries, positives, negatives, self.margin) + self.second_order * similarity


class GlobalObjective:
    """A loss of the models' vectors; see `lrcr.training.objective.Objective`.

    Args:
        model: on the device of training.
        vector_loss: of the vectors of tuples.
    """

    def __init__(self, model: Model, vector_loss: VectorLoss) -> None:
        self.model = model
        self.vector_loss = vector_loss

    def on_epoch_start(self, pool: Sequence[Photo], epoch: int) -> None:
        """Do nothing: this objective learns nothing before an epoch."""

    def embed(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The vector of each image, of shape (1, D), from the trunk's features of shape (B, C, H, W) at each scale."""
        mean = torch.stack([self.model.embed(features) for features in maps]).mean(dim=0)
        return list(torch.split(F.normalize(mean, dim=1), 1))

    def loss(self, tuples: Ids, embedded: Sequence[Tensor]) -> Tensor:
        """The loss over tuples of shape (T, 2 + N), given the vector of each of their images, in order."""
        vectors = torch.cat(list(embedded)).view(*tuples.shape, -1)
        return self.vector_loss(vectors[:, 0], vectors[:, 1], vectors[:, 2:])
