"""What every model gives of an image: descriptors, and where in it they come from."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class ImageDescriptors:
    """The descriptors of one image, strongest first.

    Args:
        descriptors: of shape (N, D).
        strength: of shape (N,): attention over the image's maximum across scales.
        position: of shape (N, 2): x and y of the location's centre, as a fraction of the image's width and height.
        scale: of shape (N,).
    """

    descriptors: Tensor
    strength: Tensor
    position: Tensor
    scale: Tensor


def resize(images: Tensor, scale: float) -> Tensor:
    """Scale images of shape (B, 3, H, W), bilinearly as HOW does; 1 leaves them as they are."""
    if scale == 1:
        return images
    return F.interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False, recompute_scale_factor=True)


def scales_that_fit(images: Tensor, scales: Sequence[float]) -> list[float]:
    """Those at which something is left of images of shape (B, 3, H, W)."""
    return [scale for scale in scales if min(images.shape[2:]) * scale >= 1]
