"""The contrastive loss over tuples (Radenović, Tolias, Chum, TPAMI 2019; used by HOW)."""

import torch
from torch import Tensor


def contrastive_loss(queries: Tensor, positives: Tensor, negatives: Tensor, margin: float) -> Tensor:
    """Σ ½ [y d² + (1 − y) max(0, m − d)²] over the pairs of each query with its positive and its negatives.

    Args:
        queries: of shape (T, D).
        positives: of shape (T, D).
        negatives: of shape (T, N, D).
        margin: m, in units of the distance d.

    Returns:
        A scalar; summed, not averaged.
    """
    positive = _distance(queries - positives)
    negative = _distance(queries[:, None] - negatives)
    return 0.5 * (positive.square().sum() + (margin - negative).clamp_min(0).square().sum())


def _distance(difference: Tensor) -> Tensor:
    """L2 norm over the last dimension; the ε of the reference keeps the gradient finite at zero."""
    distance: Tensor = torch.linalg.vector_norm(difference + 1e-6, dim=-1)
    return distance
