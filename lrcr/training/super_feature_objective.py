"""The objective of FIRe: a contrastive loss of matched super-features, and decorrelated attention."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lrcr.config.tuples import FireParams
from lrcr.data.dataset import Ids, Photo
from lrcr.losses.super_features import decorrelation_loss, super_feature_loss
from lrcr.models.super_feature_model import SuperFeatureModel
from lrcr.models.super_features import SuperFeatures


class SuperFeatureObjective:
    """The losses of `lrcr.losses.super_features`; see `lrcr.training.objective.Objective`.

    Args:
        model: on the device of the training.
        settings: weights of the losses, margin and ratio.
    """

    def __init__(self, model: SuperFeatureModel, settings: FireParams) -> None:
        self.model = model
        self.settings = settings

    compares_tuples = False
    margin = None

    def on_epoch_start(self, pool: Sequence[Photo], epoch: int) -> None:
        """Do nothing: this objective needs no preparation."""

    def order(self, pairs: Ids, size: int) -> Ids:
        """The pairs in the given order: each tuple has negatives of its own."""
        return pairs

    def embed(self, maps: Sequence[Tensor]) -> list[SuperFeatures]:
        """The super-features of each image, from the backbone's maps of shape (B, C, H, W) at one scale."""
        [features] = maps
        found = self.model.find(features)
        return [found.of_image(row) for row in range(len(features))]

    def loss(self, tuples: Ids, embedded: Sequence[SuperFeatures]) -> Tensor:
        """The loss of tuples of shape (T, 2 + N), from the super-features of each of their images, in order."""
        settings, loss = self.settings, embedded[0].features.new_zeros(())
        stacked = torch.cat([image.features for image in embedded])
        for features in stacked.view(*tuples.shape, *stacked.shape[1:]):
            matched = super_feature_loss(features[0], features[1], features[2:], settings.margin, settings.ratio)
            loss = loss + settings.contrastive * matched
        for image in embedded:
            loss = loss + settings.decorrelation * decorrelation_loss(image.attention[0])
        return loss
