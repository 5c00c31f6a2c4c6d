"""Smoothing of a feature map: each location becomes an average of its neighbourhood."""

import torch.nn.functional as F
from torch import Tensor, nn

from lrcr.params import SmoothingParams


class AverageSmoothing(nn.Module):
    """HOW's smoothing (Tolias et al., ECCV 2020): the mean over a k × k window, borders counted out.

    Args:
        kernel: k, odd; 1 leaves the map as it is.
    """

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, features: Tensor) -> Tensor:
        """Smooth features of shape (B, C, H, W); the shape stays."""
        return F.avg_pool2d(features, self.kernel, stride=1, padding=self.kernel // 2, count_include_pad=False)


def build_smoothing(params: SmoothingParams) -> nn.Module:
    """The smoothing that the params name."""
    return AverageSmoothing(params.kernel) if params.kind == "average" else nn.Identity()
