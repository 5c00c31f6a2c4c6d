"""Attention of locations: the L2 norm of the feature (HOW), or a learned module (DELF)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_HIDDEN = 512


def l2_attention(features: Tensor) -> Tensor:
    """L2 norm over channels (Tolias et al., ECCV 2020, section 3).

    Args:
        features: of shape (B, C, H, W).

    Returns:
        Attention of shape (B, H, W).
    """
    attention: Tensor = torch.linalg.vector_norm(features, dim=1)
    return attention


class AttentionModule(nn.Module):
    """The attention module of DELF (Noh et al., ICCV 2017).

    A 1×1 convolution to 512 channels, BatchNorm, ReLU, a 1×1 convolution to one channel, softplus.

    Args:
        channels: C, of the features.

    Example:
        >>> import torch
        >>> AttentionModule(channels=16)(torch.rand(2, 16, 5, 7)).shape
        torch.Size([2, 5, 7])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, _HIDDEN, 1)
        self.bn = nn.BatchNorm2d(_HIDDEN)
        self.conv2 = nn.Conv2d(_HIDDEN, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Features of shape (B, C, H, W), which may have no locations → attention above zero, of shape (B, H, W)."""
        if not features.numel():
            return features.new_zeros(len(features), *features.shape[2:])
        return F.softplus(self.conv2(F.relu(self.bn(self.conv1(features)))))[:, 0]
