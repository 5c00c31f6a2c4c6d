"""The output of every model for an image: descriptors and their positions in it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class ImageDescriptors:
    """The descriptors of one image, strongest first.

    Args:
        descriptors: of shape (N, D).
        strength: of shape (N,): attention (of a super-feature its norm) divided by its maximum over the image.
        position: of shape (N, 2): x and y of the location's centre (of a super-feature the centroid of its attention),
            as a fraction of the image's width and height.
        scale: of shape (N,): the factor by which the image was resized.
        vector: of the whole image, of shape (V,), for models that have local descriptors and a vector.
    """

    descriptors: Tensor
    strength: Tensor
    position: Tensor
    scale: Tensor
    vector: Tensor | None = None


def resize(images: Tensor, scale: float) -> Tensor:
    """Resize images of shape (B, 3, H, W) by a factor, bilinearly as in HOW; 1 returns them as they are."""
    if scale == 1:
        return images
    return F.interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False, recompute_scale_factor=True)


def scales_that_fit(images: Tensor, scales: Sequence[float]) -> list[float]:
    """The scales at which both sides of images of shape (B, 3, H, W) are at least one pixel long."""
    return [scale for scale in scales if min(images.shape[2:]) * scale >= 1]


def centres(features: Tensor) -> Tensor:
    """The centres of the locations of a map, x and y as fractions of its width and height: of shape (2, H, W)."""
    height, width = features.shape[2:]
    y = (torch.arange(height, device=features.device) + 0.5) / height
    x = (torch.arange(width, device=features.device) + 0.5) / width
    return torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)])
