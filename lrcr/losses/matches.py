"""Matching of the descriptors of two images, for losses on matched descriptors."""

import torch
from torch import Tensor


def mutual_nearest_neighbours(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Pairs of unit vectors of which each is the nearest neighbour of the other; at least one pair exists.

    Args:
        a: of shape (n, D).
        b: of shape (m, D).

    Returns:
        The rows of the pairs in a and in b, each of shape (pairs,).
    """
    similarity = a @ b.T
    nearest_in_b, nearest_in_a = similarity.argmax(dim=1), similarity.argmax(dim=0)
    rows = torch.arange(len(a), device=a.device)
    mutual = nearest_in_a[nearest_in_b] == rows
    return rows[mutual], nearest_in_b[mutual]


def passes_ratio_test(vectors: Tensor, others: Tensor, nearest: Tensor, ratio: float) -> Tensor:
    """Whether the nearest neighbour is much closer than the second nearest (Lowe, IJCV 2004).

    Args:
        vectors: of shape (n, D).
        others: of shape (m, D); with m = 1 all pass.
        nearest: the row of the nearest neighbour of each vector in `others`, of shape (n,).
        ratio: largest ratio of the two distances.

    Returns:
        Of shape (n,).
    """
    distances = torch.cdist(vectors, others)
    first = distances.gather(1, nearest[:, None])
    second = distances.scatter(1, nearest[:, None], torch.inf).amin(dim=1, keepdim=True)
    passes: Tensor = (first <= ratio * second)[:, 0]
    return passes
