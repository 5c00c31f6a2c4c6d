"""A loss on local matches: the contrastive loss of descriptors that are mutual nearest neighbours in two images.

A global descriptor is a sum over locations, so a loss on it gives each location only a weak gradient, which mixes all
locations. ASMK compares single locations, and so does this loss.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lrcr.losses.contrastive import contrastive_loss


def match_loss(query: Tensor, positive: Tensor, negatives: Sequence[Tensor], margin: float) -> Tensor:
    """The contrastive loss of the matched descriptors of the query, averaged over the matches.

    Matches are mutual nearest neighbours among the descriptors of query and positive. The negatives of a match are the
    nearest descriptors in each negative image. The search for both has no gradient.

    Args:
        query: of shape (n, D), at least one row; need not be normalised.
        positive: of shape (m, D), at least one row.
        negatives: N images, each of shape (k, D), at least one row.
        margin: in units of the distance of unit vectors.

    Returns:
        A scalar.
    """
    query, positive, *others = (F.normalize(image, dim=-1) for image in (query, positive, *negatives))
    with torch.no_grad():
        rows, positive_rows = mutual_nearest_neighbours(query, positive)
    anchors = query[rows]
    with torch.no_grad():
        nearest = [(anchors @ other.T).argmax(dim=1) for other in others]
    hard = [other[closest] for other, closest in zip(others, nearest, strict=True)]
    stacked = torch.stack(hard, dim=1) if hard else anchors.new_zeros(len(anchors), 0, anchors.shape[1])
    return contrastive_loss(anchors, positive[positive_rows], stacked, margin) / len(anchors)


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
