"""Attention of HOW: the L2 norm of the feature (Tolias et al., ECCV 2020, section 3)."""

import torch
from torch import Tensor


def l2_attention(features: Tensor) -> Tensor:
    """L2 norm over channels: features of shape (B, C, H, W) → attention of shape (B, H, W)."""
    attention: Tensor = torch.linalg.vector_norm(features, dim=1)
    return attention
