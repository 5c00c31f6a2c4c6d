"""What every model has in common, whichever descriptors it makes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, Self

from torch import Tensor, nn

from lrcr.models.backbone import Backbone, freeze_batchnorm_stats
from lrcr.models.descriptors import ImageDescriptors
from lrcr.models.whitening import Whitening

Feature = Literal["local descriptors", "attention"]


class Model(nn.Module, ABC):
    """Images → the trunk's feature maps → descriptors.

    Args:
        backbone: the trunk.
        freeze_batchnorm: whether BatchNorm of the trunk stays in evaluation mode during training, as HOW has it with
            pretrained weights. (CFCD's authors train it; that would destroy weights into which BatchNorm is folded.)
    """

    def __init__(self, backbone: Backbone, *, freeze_batchnorm: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.freeze_batchnorm = freeze_batchnorm

    @property
    @abstractmethod
    def dim(self) -> int:
        """D: dimensions of the training descriptor."""

    @property
    @abstractmethod
    def whitening_layer(self) -> Whitening | None:
        """The layer that is learned by PCA whitening, where the model has one."""

    @abstractmethod
    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The parts that may be trained, each with its own learning rate."""

    @abstractmethod
    def embed(self, features: Tensor) -> Tensor:
        """The training descriptor, from the trunk's features of shape (B, C, H, W): unit vectors of shape (B, D)."""

    @abstractmethod
    def to_whiten(self, features: Tensor, count: int) -> list[Tensor]:
        """What the whitening is learned from, from the trunk's features: for each image rows of shape (≤ count, C)."""

    @abstractmethod
    def describe(self, images: Tensor, scales: Sequence[float], count: int) -> list[ImageDescriptors]:
        """The descriptors of each of B images of shape (B, 3, H, W); of local ones the `count` strongest."""

    @abstractmethod
    def supports(self, feature: Feature) -> bool:
        """Whether the model has a feature that not all models have."""

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; frozen BatchNorm stays in evaluation mode."""
        super().train(mode)
        if self.freeze_batchnorm:
            freeze_batchnorm_stats(self.backbone)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """The training descriptor of images of shape (B, 3, H, W): unit vectors of shape (B, D)."""
        return self.embed(self.backbone(images))
