"""The objectives of training on tuples."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from lrcr.config.params import Params
from lrcr.data.dataset import Ids, Photo
from lrcr.models.local import LocalModel
from lrcr.models.super_feature_model import SuperFeatureModel
from lrcr.training.global_objective import ContrastiveLoss, GlobalObjective, SolarLoss
from lrcr.training.local_objective import LocalObjective
from lrcr.training.setup import Setup
from lrcr.training.super_feature_objective import SuperFeatureObjective


class Objective(Protocol):
    """A loss over tuples."""

    @property
    def compares_tuples(self) -> bool:
        """Whether the loss of a tuple depends on the other tuples of its batch."""
        ...

    @property
    def margin(self) -> float | None:
        """The distance to which the contrastive loss pushes a negative away; None: there is no such loss."""
        ...

    def on_epoch_start(self, pool: Sequence[Photo], epoch: int) -> None:
        """Prepare for an epoch; its negatives are mined from the photos of `pool`."""
        ...

    def order(self, pairs: Ids, size: int) -> Ids:
        """The order of the pairs of an epoch, of shape (T, 2), in which each step of `size` pairs compares them."""
        ...

    def embed(self, maps: Sequence[Tensor]) -> list[Any]:
        """The input of the loss for each of B images, from the backbone's maps of shape (B, C, H, W) at each scale."""
        ...

    def loss(self, tuples: Ids, embedded: Sequence[Any]) -> Tensor:
        """The summed loss of tuples of shape (T, 2 + N), from the results of `embed` for their images, in order."""
        ...


def make_objective(params: Params, setup: Setup) -> Objective:
    """The objective of the model that the params describe."""
    model, settings = setup.model, params.train.tuples
    if isinstance(model, LocalModel):
        return LocalObjective(model, setup, settings, params.smoothing.bandwidth_penalty)
    if isinstance(model, SuperFeatureModel):
        return SuperFeatureObjective(model, settings.fire)
    if params.model.name == "solar":
        return GlobalObjective(model, SolarLoss(settings.solar.margin, settings.solar.second_order))
    return GlobalObjective(model, ContrastiveLoss(settings.losses.contrastive, settings.margin), settings.margin)
