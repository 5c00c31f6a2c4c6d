"""The interface of all models, local and global."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, Self

from torch import Tensor, nn

from lrcr.models.backbone import Backbone, freeze_batchnorm_stats
from lrcr.models.descriptors import ImageDescriptors, resize, scales_that_fit
from lrcr.models.whitening import Whitening

Feature = Literal["local descriptors", "attention", "late whitening", "local branch", "regions"]
"""Attention: its map can be drawn. Late whitening: learned after the training, which does not use it. Local branch:
trained beside the training descriptor. Regions: pooled, and as many as fit the size of the image.
"""


class Model(nn.Module, ABC):
    """Images → feature maps of the backbone → descriptors.

    Args:
        backbone: images → feature maps.
        freeze_batchnorm: whether BatchNorm of the backbone stays in evaluation mode during training, as in HOW. (CFCD
            trains it. With weights whose BatchNorm is folded, that would change what the network computes.)
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
        """The layer that is learned by PCA whitening; None if the model has none."""

    @abstractmethod
    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The trainable parts, each with its own learning rate."""

    @abstractmethod
    def embed(self, features: Tensor) -> Tensor:
        """The training descriptor: the backbone's features of shape (B, C, H, W) → unit vectors of shape (B, D)."""

    @abstractmethod
    def whitening_samples(self, features: Tensor, count: int) -> list[Tensor]:
        """The vectors of each image from which the whitening is learned, each of shape (≤ count, C).

        Args:
            features: of the backbone, of shape (B, C, H, W).
            count: largest number of vectors of an image.
        """

    @abstractmethod
    def describe_maps(self, maps: Sequence[Tensor], scales: Sequence[float], count: int) -> list[ImageDescriptors]:
        """The descriptors of each of B images; of local descriptors the `count` strongest.

        Args:
            maps: the backbone's features, of shape (B, C, H_s, W_s) at scale s; at least one.
            scales: of the maps.
            count: largest number of local descriptors of an image.
        """

    @abstractmethod
    def supports(self, feature: Feature) -> bool:
        """Whether the model has one of the features that only some models have."""

    def describe(
        self, images: Tensor, scales: Sequence[float], count: int, vector_scales: Sequence[float] = ()
    ) -> list[ImageDescriptors]:
        """`describe_maps` for images of shape (B, 3, H, W), and `add_vectors` if there are scales for it.

        Scales at which an image has no pixel are skipped. If no scale remains, an image has no descriptors.
        """
        kept = scales_that_fit(images, list(dict.fromkeys([*scales, *vector_scales])))
        maps = {scale: self.backbone(resize(images, scale)) for scale in kept}
        local = [scale for scale in scales if scale in maps]
        if local:
            described = self.describe_maps([maps[scale] for scale in local], local, count)
        else:
            empty = images.new_zeros(len(images), self.backbone.channels, 0, 0)
            described = self.describe_maps([empty], [1.0], count)
        if not vector_scales:
            return described
        return self.add_vectors(described, [maps[scale] for scale in vector_scales if scale in maps])

    def add_vectors(self, images: list[ImageDescriptors], maps: Sequence[Tensor]) -> list[ImageDescriptors]:
        """The B described images with a vector each, from maps of shape (B, C, H_s, W_s); unchanged if it has none."""
        return images

    def local_branch(self, features: Tensor) -> tuple[Tensor, Tensor] | None:
        """What is trained beside the training descriptor, from the backbone's features of shape (B, C, H, W).

        Returns:
            Errors of shape (B,) and unit vectors of shape (B, C), which are classified; None without a local branch.
        """
        return None

    def freeze(self, trained_stages: int) -> None:
        """Train only the last stages of the backbone; 0: nothing of it. BatchNorm of the others keeps its statistics.

        Raises:
            WeightsError: see `Backbone.freeze`.
        """
        self.backbone.freeze(trained_stages)
        self.train(self.training)

    def require_stages(self, number: int) -> None:
        """Refuse a number of trained stages that `freeze` cannot leave.

        Raises:
            WeightsError: see `Backbone.freeze`.
        """
        self.backbone.require_stages(number)

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; frozen BatchNorm stays in evaluation mode."""
        super().train(mode)
        if self.freeze_batchnorm:
            freeze_batchnorm_stats(self.backbone)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """The training descriptor of images of shape (B, 3, H, W): unit vectors of shape (B, D)."""
        return self.embed(self.backbone(images))
