"""From a map of features to one vector."""

import torch.nn.functional as F
from torch import Tensor


def attention_pool(features: Tensor, attention: Tensor) -> Tensor:
    """HOW's training descriptor: the L2-normalised sum of attention × feature.

    Args:
        features: of shape (B, D, H, W).
        attention: of shape (B, H, W); its scale is of no account.

    Returns:
        Unit vectors of shape (B, D).
    """
    return F.normalize((features * attention[:, None]).sum(dim=(2, 3)), dim=1)
