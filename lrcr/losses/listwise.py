"""The listwise loss of AP-GeM (Revaud et al., ICCV 2019): 1 − mAP, differentiable through soft similarity bins."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from lrcr.runtime import distributed


def listwise_loss(similarity: Tensor, relevant: Tensor, bins: int = 25) -> Tensor:
    """1 − mean quantised average precision (He, Lu, Sclaroff, CVPR 2018) of the queries that have positives.

    The centres of the M bins are equally spaced from 1 down to 0; each similarity is shared between the two nearest
    bins. Similarities below 0 fall into the last bin, and get no gradient; neither does one of exactly 1, where the
    authors' code has a gradient that is not the derivative of its loss. With the soft counts c⁺_m of positives and
    c_m of all images in bin m, AP = Σ_m (Σ_{k≤m} c⁺_k / Σ_{k≤m} c_k) · c⁺_m / Σ c⁺.
    If the similarities are at different bin centres, this is exactly average precision. With many bins and similarities
    above 0, the loss is at most 0.09 larger than 1 − average precision, because the part of a positive in the upper bin
    counts before the rest of it.

    Args:
        similarity: of each query to each image, cosines in [−1, 1], of shape (Q, N); −∞ for an image that is not a
            candidate of the query (above all the query itself).
        relevant: whether an image is a positive of a query, bool, of shape (Q, N).
        bins: M ≥ 2; 25 in the published configuration.

    Returns:
        A scalar; 0 with zero gradient if no query has a positive.
    """
    candidate = similarity != -torch.inf
    relevant = relevant & candidate
    position = (1 - similarity.masked_fill(~candidate, 0).clamp(0, 1)) * (bins - 1)
    images, positives = _soft_counts(position, candidate, bins), _soft_counts(position, relevant, bins)
    precision = positives.cumsum(dim=1) / images.cumsum(dim=1).clamp_min(1e-12)
    count = relevant.sum(dim=1)
    average = (precision * positives).sum(dim=1) / count.clamp_min(1)
    return ((1 - average) * (count > 0)).sum() / (count > 0).sum().clamp_min(1)


def _soft_counts(position: Tensor, counted: Tensor, bins: int) -> Tensor:
    """The soft count of the `counted` images in each bin: bin positions in [0, M − 1], of shape (Q, N) → (Q, M)."""
    upper = position.detach().floor().long().clamp(0, bins - 2)
    lower_share = position - upper
    counts = position.new_zeros(len(position), bins).scatter_add(1, upper, (1 - lower_share) * counted)
    return counts.scatter_add(1, upper + 1, lower_share * counted)


def backward_in_two_passes(
    describe: Callable[[Tensor], Tensor], chunks: Sequence[Tensor], loss_of: Callable[[Tensor], Tensor]
) -> Tensor:
    """Accumulate the gradient of a loss on a batch that does not fit into memory (Revaud et al., ICCV 2019).

    The first pass computes the vectors of all images without a graph, then the loss and its gradient with respect to
    the vectors. The second pass computes the vectors of each chunk again, with a graph, and backpropagates this
    gradient. `describe` must return the same vectors in both passes: it must not use dropout, for example. The ranks
    share the chunks.

    Args:
        describe: a chunk of images → unit vectors of shape (n, D).
        chunks: the images; each chunk fits into memory. At least one chunk for each rank.
        loss_of: the vectors of all images, in order, of shape (N, D) → a scalar.

    Returns:
        The loss, without a graph. The gradients of the parameters, summed over the ranks, are those of
        `loss_of(describe(all images)).backward()`, if the vector of an image does not depend on its chunk.
    """
    ends = np.cumsum([len(chunk) for chunk in chunks])
    share = [
        (chunk, slice(end - len(chunk), end)) for chunk, end in distributed.share(list(zip(chunks, ends, strict=True)))
    ]
    with torch.no_grad():
        vectors = [describe(chunk) for chunk, _ in share]
    joined = vectors[0].new_zeros(int(ends[-1]), vectors[0].shape[1])
    for (_, rows), part in zip(share, vectors, strict=True):
        joined[rows] = part
    distributed.all_reduce_sum(joined).requires_grad_()
    loss = loss_of(joined)
    (gradient,) = torch.autograd.grad(loss, joined)
    for chunk, rows in share:
        torch.autograd.backward(describe(chunk), gradient[rows])
    return loss.detach()
