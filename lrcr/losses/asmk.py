"""The ASMK score of every two images of a batch, differentiable, and a loss on the ranking by it.

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
from lrcr.runtime import distributed

_MAX_PROBABILITY = 1 - 1e-6  # keeps log(1 − p) finite
_FLOOR = 0.1  # of the mean score of a query, added to each of its scores: a score of zero has a finite logarithm
_EXCLUDED = -1e9


@dataclass(frozen=True)
class SoftAggregation:
    """The aggregated descriptors of B images for all W visual words.

    Args:
        residuals: unit vectors of shape (B, W, D); zero where an image has no descriptor of a word.
        presence: the probability that an image has a word, of shape (B, W).
    """

    residuals: Tensor
    presence: Tensor


def aggregate(images: Sequence[Candidates], centroids: Tensor, soft_words: int = 1) -> SoftAggregation:
    """Assign each descriptor to its nearest words, and sum the residuals of each word weighted by probability.

    With one word a descriptor the assignment has no gradient: a descriptor that moves to another word changes nothing.
    With several it belongs to each of them with the probability softmax(−squared distance / t), and t is the mean
    difference between the squared distances to the second nearest and the nearest word, over the images of all ranks.

    An image has a word if at least one of its selected descriptors belongs to it: p = 1 − Π (1 − p_i).

    Args:
        images: the candidate descriptors of each of B images.
        centroids: of the visual words, of shape (W, D).
        soft_words: words of a descriptor; all W if there are fewer.
    """
    descriptors = torch.cat([image.descriptors for image in images])
    probability = torch.cat([image.selection_probability for image in images])
    counts = torch.tensor([len(image.descriptors) for image in images], device=descriptors.device)
    shape = len(images), len(centroids)
    with torch.no_grad():
        similarity = torch.addmm(-0.5 * centroids.square().sum(dim=1), descriptors, centroids.T)
        nearest = similarity.topk(min(soft_words, len(centroids)), dim=1).indices
        row = torch.repeat_interleave(counts)[:, None] * len(centroids) + nearest
    residuals = descriptors[:, None] - F.embedding(nearest, centroids)
    belongs = probability[:, None] * _soft_assignment(residuals)
    sums = descriptors.new_zeros(shape[0] * shape[1], descriptors.shape[1])
    sums = sums.index_add(0, row.flatten(), (belongs[:, :, None] * residuals).flatten(0, 1))
    log_absent = torch.log1p(-belongs.clamp_max(_MAX_PROBABILITY))
    absent = probability.new_zeros(len(sums)).index_add(0, row.flatten(), log_absent.flatten())
    return SoftAggregation(F.normalize(sums, dim=1).view(*shape, -1), -torch.expm1(absent).view(shape))


def _soft_assignment(residuals: Tensor) -> Tensor:
    """The probability of each of a descriptor's words, of shape (n, k), from its residuals, of shape (n, k, D)."""
    squared = residuals.square().sum(dim=2)
    if squared.shape[1] == 1:
        return torch.ones_like(squared)
    apart = (squared[:, 1] - squared[:, 0]).detach()
    total, count = distributed.all_reduce_sum(torch.stack([apart.sum(), apart.new_tensor(len(apart))]))
    return torch.softmax(-squared / (total / count).clamp_min(1e-12), dim=1)


def score_matrix(images: SoftAggregation, alpha: float = 3.0) -> Tensor:
    """The similarity Σ p_a p_b max(0, u)^α / √(Σ p_a · Σ p_b) of every two of B images a and b: of shape (B, B).

    The first sum is over the words. In it u is the cosine of the residuals of a word, and p are the probabilities that
    the images have it.
    """
    residuals, presence = images.residuals.transpose(0, 1), images.presence.T
    cosine = residuals @ residuals.mT
    matches = (cosine.clamp_min(0).pow(alpha) * presence[:, :, None] * presence[:, None, :]).sum(dim=0)
    words = presence.sum(dim=0)
    return matches / (words[:, None] * words).sqrt()


def ranking_loss(scores: Tensor, positives: Tensor, negatives: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of the softmax over log(scores) / temperature of positive and negatives, summed over the queries.

    A factor common to all scores of a query changes nothing: the loss sees the ranking, not the size of the scores.
    (With scores in place of their logarithms it falls if all scores grow, as they do when images have fewer words.)

    Args:
        scores: ≥ 0, of shape (Q, B).
        positives: the column of each query's positive, of shape (Q,).
        negatives: which columns are negatives of each query, of shape (Q, B).
        temperature: > 0.

    Returns:
        A scalar.
    """
    compared = negatives.scatter(1, positives[:, None], True)
    mean = (scores * compared).sum(dim=1, keepdim=True) / compared.sum(dim=1, keepdim=True)
    logits = (scores + _FLOOR * mean).clamp_min(torch.finfo(scores.dtype).tiny).log() / temperature
    return F.cross_entropy(logits.masked_fill(~compared, _EXCLUDED), positives, reduction="sum")
