"""A loss on the ASMK score: the score of the positive must be larger than the scores of the negatives.

The score is that of ASMK without binarisation (Tolias, Avrithis, Jégou, ICCV 2013). It is differentiable with respect
to the residuals; the assignment to visual words has no gradient. Unlike a loss on single matches, it includes the
aggregation of ASMK: matches in many distinct words give a high score, and a burst of similar descriptors counts as one
word. Each descriptor has a selection probability: the probability that it is among the selected descriptors of its
image. Through it the gradient also reaches attention, which decides the selection.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lrcr.models.local import Candidates

_MAX_PROBABILITY = 1 - 1e-6  # keeps log(1 − p) finite


@dataclass(frozen=True)
class SoftAggregation:
    """The aggregated descriptors of one image: a residual and a selection probability for each of its visual words.

    Args:
        words: the image's visual words, ascending, int64 of shape (w,).
        residuals: the aggregated residual of each word, unit vectors of shape (w, D).
        selection_probability: the probability that the image has the word, of shape (w,).
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
    """Cross-entropy of the softmax over the scores of positive and negatives; the positive is the correct class.

    Args:
        query, positive: the candidate descriptors of one image.
        negatives: the candidate descriptors of each negative image.
        centroids: of the visual words, of shape (W, D).
        temperature: divides the scores before the softmax, > 0.
        alpha: exponent of the similarity in ASMK.

    Returns:
        A scalar.
    """
    aggregated = aggregate(query, centroids)
    scores = torch.stack([score(aggregated, aggregate(image, centroids), alpha) for image in (positive, *negatives)])
    return F.cross_entropy(scores[None] / temperature, scores.new_zeros(1, dtype=torch.int64))


def aggregate(image: Candidates, centroids: Tensor) -> SoftAggregation:
    """Assign each descriptor to its nearest word, and sum the residuals of each word weighted by probability.

    The image has a word if at least one descriptor of the word is selected: p = 1 − Π (1 − p_i) over its descriptors i.
    """
    descriptors, selection_probability = image.descriptors, image.selection_probability
    with torch.no_grad():
        nearest = torch.addmm(-0.5 * centroids.square().sum(dim=1), descriptors, centroids.T).argmax(dim=1)
        words, row = torch.unique(nearest, return_inverse=True)
    sums = descriptors.new_zeros(len(words), descriptors.shape[1])
    sums = sums.index_add(0, row, selection_probability[:, None] * (descriptors - centroids[nearest]))
    log_absent = selection_probability.new_zeros(len(words)).index_add(
        0, row, torch.log1p(-selection_probability.clamp_max(_MAX_PROBABILITY))
    )
    return SoftAggregation(words, F.normalize(sums, dim=1), -torch.expm1(log_absent))


def score(a: SoftAggregation, b: SoftAggregation, alpha: float) -> Tensor:
    """The similarity Σ p_a p_b max(0, u)^α / √(Σ p_a · Σ p_b) of two images, a scalar.

    The first sum is over the words that both images have. There u is the cosine of the two residuals of a word, and p
    are the selection probabilities.
    """
    row = torch.searchsorted(b.words, a.words).clamp_max(len(b.words) - 1)
    common = b.words[row] == a.words
    row_b = row[common]
    cosine = (a.residuals[common] * b.residuals[row_b]).sum(dim=1)
    weight = a.selection_probability[common] * b.selection_probability[row_b]
    total: Tensor = (weight * cosine.clamp_min(0).pow(alpha)).sum() / (
        a.selection_probability.sum() * b.selection_probability.sum()
    ).sqrt()
    return total
