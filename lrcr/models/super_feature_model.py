"""FIRe: backbone, iterated attention and whitening (Weinzaepfel, Lucas, Larlus, Kalantidis, ICLR 2022)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lrcr.models.backbone import Backbone, crop_border
from lrcr.models.descriptors import ImageDescriptors, centres
from lrcr.models.model import Feature, Model
from lrcr.models.pooling import attention_pool
from lrcr.models.selection import select_strongest
from lrcr.models.super_features import IteratedAttention, SuperFeatures
from lrcr.models.whitening import Whitening


class SuperFeatureModel(Model):
    """Features → super-features → whitening; strength = L2 norm of the super-feature before whitening.

    The position of a super-feature is the mean of the locations' positions, weighted by its attention.

    Args:
        backbone: images → features of shape (B, C, H, W).
        super_features: features → N super-features of d dimensions.
        whitening: d → D dimensions.
        border: number of rows and columns to crop on each side of a map.
        freeze_batchnorm: see `Model`.
    """

    def __init__(
        self,
        backbone: Backbone,
        super_features: IteratedAttention,
        whitening: Whitening,
        *,
        border: int = 0,
        freeze_batchnorm: bool,
    ) -> None:
        super().__init__(backbone, freeze_batchnorm=freeze_batchnorm)
        self.super_features = super_features
        self.whitening = whitening
        self.border = border

    @property
    def dim(self) -> int:
        """D."""
        return len(self.whitening.bias)

    @property
    def whitening_layer(self) -> Whitening:
        """The whitening of super-features."""
        return self.whitening

    def supports(self, feature: Feature) -> bool:
        """See `Model`: super-features are local descriptors, but no map tells the attention of each location."""
        return feature == "local descriptors"

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The trainable parts, each with its own learning rate."""
        names = ("backbone", "super_features", "whitening")
        return {name: list(self.get_submodule(name).parameters()) for name in names}

    def find(self, features: Tensor) -> SuperFeatures:
        """The super-features of the backbone's maps of shape (B, C, H, W), whose border is cropped."""
        found: SuperFeatures = self.super_features(crop_border(features, self.border))
        return found

    def embed(self, features: Tensor) -> Tensor:
        """The training descriptor of HOW, over super-features in place of locations: unit vectors of shape (B, D)."""
        found = self.find(features).features
        return attention_pool(self.whitening(found).mT[..., None], _strength(found)[..., None])

    def whitening_samples(self, features: Tensor, count: int) -> list[Tensor]:
        """The strongest super-features of each image, each of shape (≤ count, d)."""
        return [local.descriptors for local in self.describe_maps([features], [1.0], count, whiten=False)]

    def describe_maps(
        self, maps: Sequence[Tensor], scales: Sequence[float], count: int, *, whiten: bool = True
    ) -> list[ImageDescriptors]:
        """The `count` strongest super-features of each image, over all scales; see `Model`.

        Args:
            whiten: False returns the super-features, of d dimensions, as descriptors.
        """
        found = [self.find(features) for features in maps]
        of_scale = [one.features.shape[1] for one in found]
        features = torch.cat([one.features for one in found], dim=1)
        scale = features.new_tensor(scales).repeat_interleave(torch.tensor(of_scale, device=features.device))
        places = [crop_border(centres(features), self.border) for features in maps]
        position = torch.cat(
            [one.attention.flatten(2) @ xy.flatten(1).T for one, xy in zip(found, places, strict=True)], dim=1
        )
        result = []
        for image, selection in enumerate(select_strongest(_strength(features), position, scale, count)):
            descriptors = features[image, selection.rows]
            result.append(selection.described(self.whitening(descriptors) if whiten else descriptors))
        return result


def _strength(features: Tensor) -> Tensor:
    """The L2 norm of super-features of shape (B, N, d): of shape (B, N)."""
    strength: Tensor = torch.linalg.vector_norm(features, dim=-1)
    return strength
