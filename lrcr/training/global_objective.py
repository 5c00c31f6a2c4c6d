"""What tuples of a global model are trained for: contrastive, or SOLAR's triplets with second-order similarity."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lrcr.config.params import Params
from lrcr.data.dataset import Ids, Photo
from lrcr.losses.contrastive import contrastive_loss
from lrcr.losses.second_order import second_order_loss
from lrcr.losses.triplet import triplet_loss
from lrcr.models.global_model import GlobalModel


class GlobalObjective:
    """The loss of the model: for `solar` of `train.solar`, contrastive for all others.

    Args:
        params: the `model` and `train` sections.
        model: on the device of training.
    """

    def __init__(self, params: Params, model: GlobalModel) -> None:
        self.params = params
        self.model = model

    def on_epoch_start(self, pool: Sequence[Photo], epoch: int) -> None:
        """Nothing has to be learned before an epoch."""

    def embed(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The vector of each image, of shape (1, D), from the trunk's features of shape (B, C, H, W) at each scale."""
        mean = torch.stack([self.model.describe_map(features) for features in maps]).mean(dim=0)
        return list(torch.split(F.normalize(mean, dim=1), 1))

    def loss(self, tuples: Ids, vectors: Sequence[Tensor]) -> Tensor:
        """The loss over tuples of shape (T, 2 + N), given the vector of each of their images, in order."""
        settings = self.params.train
        together = torch.cat(list(vectors)).view(*tuples.shape, -1)
        queries, positives, negatives = together[:, 0], together[:, 1], together[:, 2:]
        if self.params.model.name != "solar":
            return settings.losses.contrastive * contrastive_loss(queries, positives, negatives, settings.margin)
        solar = settings.solar
        similarity = second_order_loss(queries, positives, negatives)
        return triplet_loss(queries, positives, negatives, solar.margin) + solar.second_order * similarity
