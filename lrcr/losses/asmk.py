"""A loss on ASMK's own score: the positive's must exceed those of the negatives.

The score is ASMK's without binarisation (Tolias, Avrithis, Jégou, ICCV 2013), which has a gradient: assignment to words
has none, residuals have one. Unlike a loss on single matches it knows what ASMK rewards: many distinct words, of which
a burst of similar descriptors is but one.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def asmk_loss(
    query: Tensor,
    positive: Tensor,
    negatives: Sequence[Tensor],
    centroids: Tensor,
    temperature: float,
    alpha: float = 3.0,
) -> Tensor:
    """Cross-entropy of the softmax over the scores of positive and negatives, the positive being the right one.

    Args:
        query, positive, negatives: local descriptors of one image each, of shape (n, D) with an n of their own.
        centroids: of the visual words, of shape (W, D).
        temperature: by which scores are divided.
        alpha: ASMK's selectivity.

    Returns:
        A scalar.
    """
    asked = aggregate(query, centroids)
    scores = torch.stack([score(asked, aggregate(image, centroids), alpha) for image in (positive, *negatives)])
    return F.cross_entropy(scores[None] / temperature, scores.new_zeros(1, dtype=torch.int64))


def aggregate(descriptors: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """An image's words, ascending and of shape (w,), and their residuals: unit vectors of shape (w, D).

    Each descriptor goes to its nearest word; the residuals of a word are summed.
    """
    with torch.no_grad():
        nearest = torch.addmm(-0.5 * centroids.square().sum(dim=1), descriptors, centroids.T).argmax(dim=1)
        words, place = torch.unique(nearest, return_inverse=True)
    sums = descriptors.new_zeros(len(words), descriptors.shape[1])
    return words, F.normalize(sums.index_add(0, place, descriptors - centroids[nearest]), dim=1)


def score(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], alpha: float) -> Tensor:
    """Σ max(0, u)^α over common words, u the residuals' cosine, over √(words of a · words of b)."""
    (words_a, residuals_a), (words_b, residuals_b) = a, b
    place = torch.searchsorted(words_b, words_a).clamp_max(len(words_b) - 1)
    common = words_b[place] == words_a
    cosine = (residuals_a[common] * residuals_b[place[common]]).sum(dim=1)
    total: Tensor = cosine.clamp_min(0).pow(alpha).sum() / (len(words_a) * len(words_b)) ** 0.5
    return total
