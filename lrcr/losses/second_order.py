"""SOLAR's second-order similarity loss over tuples (Ng, Balntas, Tian, Mikolajczyk, ECCV 2020)."""

import torch
from torch import Tensor


def second_order_loss(queries: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Σ √Σ_n (‖q − n‖² − ‖p − n‖²)²: query q and positive p should have equal distances to each negative n.

    The first sum is over tuples. Alone this loss has trivial minima (all vectors equal), so it is added to a triplet
    loss.

    Args:
        queries: of shape (T, D).
        positives: of shape (T, D).
        negatives: of shape (T, N, D).

    Returns:
        A scalar; summed, not averaged. A tuple whose term is 0 has zero gradient.
    """
    from_query = (queries[:, None] - negatives).square().sum(dim=-1)
    from_positive = (positives[:, None] - negatives).square().sum(dim=-1)
    terms: Tensor = torch.linalg.vector_norm(from_query - from_positive, dim=1)
    return terms.sum()
