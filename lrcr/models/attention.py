"""Attention of HOW: the L2 norm of the feature (Tolias et al., ECCV 2020, section 3)."""

import torch
from torch import Tensor


def l2_attention(features: Tensor) -> Tensor:
    """Norm over channels: features of shape (B, C, H, W) → attention of shape (B, H, W)."""
    attention: Tensor = torch.linalg.vector_norm(features, dim=1)
    return attention


def leave_border(attention: Tensor, border: int) -> Tensor:
    """No attention at the outermost locations: of shape (B, H, W), the same; a map without inner ones stays as it is.

    Args:
        border: how many rows and columns are outermost on each side.
    """
    if not border or min(attention.shape[1:]) <= 2 * border:
        return attention
    inside = torch.zeros_like(attention)
    inside[:, border:-border, border:-border] = 1
    return attention * inside
