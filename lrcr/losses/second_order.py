"""SOLAR's second-order similarity loss over tuples (Ng, Balntas, Tian, Mikolajczyk, ECCV 2020)."""

import torch
from torch import Tensor


def second_order_loss(queries: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Σ √Σ_n (‖q − n‖² − ‖p − n‖²)²: query and positive are to lie alike with respect to the query's negatives.

    The first sum is over tuples. Alone it has trivial minima (all vectors equal); it is added to a triplet loss.

    Args:
        queries: of shape (T, D).
        positives: of shape (T, D).
        negatives: of shape (T, N, D).

    Returns:
        A scalar; summed, not averaged. Its gradient is 0 where a tuple's term is.
    """
    from_query = (queries[:, None] - negatives).square().sum(dim=-1)
    from_positive = (positives[:, None] - negatives).square().sum(dim=-1)
    terms: Tensor = torch.linalg.vector_norm(from_query - from_positive, dim=1)
    return terms.sum()
