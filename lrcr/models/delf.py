"""DELF: local descriptors that a learned attention module ranks (Noh et al., ICCV 2017)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrcr.models.attention import AttentionModule
from lrcr.models.backbone import Backbone, crop_border
from lrcr.models.descriptors import ImageDescriptors
from lrcr.models.model import Feature, Model
from lrcr.models.pooling import attention_pool
from lrcr.models.selection import Selection, select_locations
from lrcr.models.whitening import Whitening


class DelfModel(Model):
    """Features f_p → L2 normalisation → PCA → L2 normalisation; the attention a_p of the module ranks the locations.

    The training descriptor is the L2-normalised sum of a_p · L2(f_p), which a classifier takes. First the trunk is
    trained, then the attention alone. PCA is learned after that.

    Args:
        backbone: images → features of shape (B, C, H, W).
        attention: of features of shape (B, C, H, W).
        whitening: PCA, C → D dimensions.
        border: number of rows and columns to crop on each side of a map.
        freeze_batchnorm: see `Model`.
    """

    def __init__(
        self,
        backbone: Backbone,
        attention: AttentionModule,
        whitening: Whitening,
        *,
        border: int = 0,
        freeze_batchnorm: bool,
    ) -> None:
        super().__init__(backbone, freeze_batchnorm=freeze_batchnorm)
        self.attention = attention
        self.whitening = whitening
        self.border = border

    @property
    def dim(self) -> int:
        """C: the training descriptor is not reduced by PCA."""
        return self.whitening.weight.shape[1]

    @property
    def whitening_layer(self) -> Whitening:
        """PCA of the local descriptors."""
        return self.whitening

    def supports(self, feature: Feature) -> bool:
        """See `Model`: local descriptors, whose PCA is learned last."""
        return feature in ("local descriptors", "late whitening")

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The trainable parts, each with its own learning rate."""
        return {name: list(self.get_submodule(name).parameters()) for name in ("backbone", "attention", "whitening")}

    def train(self, mode: bool = True) -> "DelfModel":
        """Set the training mode; an attention module without gradient stays in evaluation mode, as its BatchNorm."""
        super().train(mode)
        self.attention.train(mode and self.attention.conv1.weight.requires_grad)
        return self

    def embed(self, features: Tensor) -> Tensor:
        """The training descriptor: the backbone's features of shape (B, C, H, W) → unit vectors of shape (B, C)."""
        features = crop_border(features, self.border)
        return attention_pool(F.normalize(features, dim=1), self.attention(features))

    def whitening_samples(self, features: Tensor, count: int) -> list[Tensor]:
        """The L2-normalised features of the strongest locations of each image, each of shape (≤ count, C)."""
        return [rows for _, rows in self._select([features], [1.0], count)]

    def describe_maps(self, maps: Sequence[Tensor], scales: Sequence[float], count: int) -> list[ImageDescriptors]:
        """The `count` locations of each image with the largest attention over all scales; see `Model`."""
        return [
            selection.described(F.normalize(self.whitening(rows), dim=1))
            for selection, rows in self._select(maps, scales, count)
        ]

    def _select(self, maps: Sequence[Tensor], scales: Sequence[float], count: int) -> list[tuple[Selection, Tensor]]:
        """The strongest locations of each image, and their L2-normalised features, of shape (≤ count, C)."""
        cropped = [crop_border(features, self.border) for features in maps]
        attention = [self.attention(features) for features in cropped]
        selected = select_locations(attention, maps, self.border, scales, count)
        rows = torch.cat([features.flatten(2) for features in cropped], dim=2)
        return [
            (selection, F.normalize(features[:, selection.rows].T, dim=1))
            for selection, features in zip(selected, rows, strict=True)
        ]
