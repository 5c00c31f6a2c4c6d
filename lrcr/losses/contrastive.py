"""The contrastive loss over tuples (Radenović, Tolias, Chum, TPAMI 2019; used by HOW)."""

import torch
from torch import Tensor


def contrastive_loss(queries: Tensor, positives: Tensor, negatives: Tensor, margin: float) -> Tensor:
    """Σ ½ [y d² + (1 − y) max(0, m − d)²] over the pairs of each query with its positive and negatives.

    d is the Euclidean distance of a pair; y is 1 for the positive and 0 for the negatives (Radenović, Tolias, Chum,
    TPAMI 2019).

    Args:
        queries: of shape (T, D).
        positives: of shape (T, D).
        negatives: of shape (T, N, D).
        margin: m, in units of the distance d.

    Returns:
        A scalar; summed, not averaged.

    Example:
        >>> import torch
        >>> query, positive = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.8, 0.6]])
        >>> negatives = torch.tensor([[[0.0, 1.0]]])
        >>> contrastive_loss(query, positive, negatives, margin=0.8)
        tensor(0.2000)
    """
    positive = _distance(queries - positives)
    negative = _distance(queries[:, None] - negatives)
    return 0.5 * (positive.square().sum() + (margin - negative).clamp_min(0).square().sum())


def _distance(difference: Tensor) -> Tensor:
    """L2 norm over the last dimension; the ε, as in the reference implementation, keeps the gradient finite at 0."""
    distance: Tensor = torch.linalg.vector_norm(difference + 1e-6, dim=-1)
    return distance
