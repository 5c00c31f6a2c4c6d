"""A loss on ASMK's own score: the positive's must exceed those of the negatives.

The score is ASMK's without binarisation (Tolias, Avrithis, Jégou, ICCV 2013), which has a gradient: assignment to words
has none, residuals have one. Unlike a loss on single matches it knows what ASMK rewards: many distinct words, of which
a burst of similar descriptors is but one. Each descriptor has a selection probability, the chance that its image
selects it, so the gradient also reaches attention, which decides the selection.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lrcr.models.local import Candidates

_MOST = 1 - 1e-6  # selection_probability, that the logarithm of its complement be finite


@dataclass(frozen=True)
class SoftWords:
    """An image as ASMK sees it.

    Args:
        words: ascending, of shape (w,).
        residuals: of each word: unit vectors of shape (w, D).
        selection_probability: of shape (w,): how surely the image has each word.
    """

    words: Tensor
    residuals: Tensor
    selection_probability: Tensor


def asmk_loss(
    query: Candidates,
    positive: Candidates,
    negatives: Sequence[Candidates],
    centroids: Tensor,
    temperature: float,
    alpha: float = 3.0,
) -> Tensor:
    """Cross-entropy of the softmax over the scores of positive and negatives, the positive being the right one.

    Args:
        query, positive, negatives: one image each.
        centroids: of the visual words, of shape (W, D).
        temperature: by which scores are divided.
        alpha: ASMK's selectivity.

    Returns:
        A scalar.
    """
    asked = aggregate(query, centroids)
    scores = torch.stack([score(asked, aggregate(image, centroids), alpha) for image in (positive, *negatives)])
    return F.cross_entropy(scores[None] / temperature, scores.new_zeros(1, dtype=torch.int64))


def aggregate(image: Candidates, centroids: Tensor) -> SoftWords:
    """Assign each descriptor to its nearest word; sum a word's residuals, each times its selection_probability.

    The image has a word unless it selects none of its descriptors: p = 1 − Π (1 − p of each).
    """
    descriptors, selection_probability = image.descriptors, image.selection_probability
    with torch.no_grad():
        nearest = torch.addmm(-0.5 * centroids.square().sum(dim=1), descriptors, centroids.T).argmax(dim=1)
        words, place = torch.unique(nearest, return_inverse=True)
    sums = descriptors.new_zeros(len(words), descriptors.shape[1])
    sums = sums.index_add(0, place, selection_probability[:, None] * (descriptors - centroids[nearest]))
    absent = selection_probability.new_zeros(len(words)).index_add(
        0, place, torch.log1p(-selection_probability.clamp_max(_MOST))
    )
    return SoftWords(words, F.normalize(sums, dim=1), -torch.expm1(absent))


def score(a: SoftWords, b: SoftWords, alpha: float) -> Tensor:
    """Σ p_a p_b max(0, u)^α over common words over √(Σ p_a · Σ p_b): u the residuals' cosine, p probabilities."""
    place = torch.searchsorted(b.words, a.words).clamp_max(len(b.words) - 1)
    common = b.words[place] == a.words
    there = place[common]
    cosine = (a.residuals[common] * b.residuals[there]).sum(dim=1)
    weight = a.selection_probability[common] * b.selection_probability[there]
    total: Tensor = (weight * cosine.clamp_min(0).pow(alpha)).sum() / (
        a.selection_probability.sum() * b.selection_probability.sum()
    ).sqrt()
    return total
