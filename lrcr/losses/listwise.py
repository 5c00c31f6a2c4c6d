"""AP-GeM's listwise loss: 1 − mAP, made differentiable by soft bins of similarity (Revaud et al., ICCV 2019)."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from lrcr.runtime import distributed


def listwise_loss(similarity: Tensor, relevant: Tensor, bins: int = 25) -> Tensor:
    """1 − mean quantised average precision (He, Lu, Sclaroff, CVPR 2018) of the queries that have positives.

    Bins are centred from 1 down to −1, each similarity is shared between its two nearest. With c⁺_m of the positives
    and c_m of all images in bin m, AP = Σ_m (Σ_{k≤m} c⁺_k / Σ_{k≤m} c_k) · c⁺_m / Σ c⁺. With similarities at
    different centres this is average precision; with many bins and similarities anywhere the loss is at most 0.09 more
    than 1 − average precision, because the part of a positive in the bin above counts before the rest of it.

    Args:
        similarity: of each query to each image, cosines in [−1, 1], of shape (Q, N). What is no candidate of a query
            (itself above all) has −∞ there.
        relevant: whether an image is a positive of a query, bool, of shape (Q, N).
        bins: M ≥ 2; 25 in the published configuration.

    Returns:
        A scalar; 0, without gradient to give, if no query has a positive.
    """
    candidate = similarity != -torch.inf
    relevant = relevant & candidate
    place = (1 - similarity.masked_fill(~candidate, 0).clamp(-1, 1)) * ((bins - 1) / 2)
    images, positives = _share(place, candidate, bins), _share(place, relevant, bins)
    precision = positives.cumsum(dim=1) / images.cumsum(dim=1).clamp_min(1e-12)
    count = relevant.sum(dim=1)
    average = (precision * positives).sum(dim=1) / count.clamp_min(1)
    return ((1 - average) * (count > 0)).sum() / (count > 0).sum().clamp_min(1)


def _share(place: Tensor, counted: Tensor, bins: int) -> Tensor:
    """How many of those counted each bin holds: places in [0, M − 1] of shape (Q, N) → (Q, M)."""
    above = place.detach().floor().long().clamp(0, bins - 2)
    below = place - above
    held = place.new_zeros(len(place), bins).scatter_add(1, above, (1 - below) * counted)
    return held.scatter_add(1, above + 1, below * counted)


def backward_in_two_passes(
    describe: Callable[[Tensor], Tensor], chunks: Sequence[Tensor], loss_of: Callable[[Tensor], Tensor]
) -> Tensor:
    """Accumulate the gradient of a loss on more images than fit into memory with their graph (Revaud et al., 2019).

    First all vectors are computed without graph, then the loss and its gradient on them; in a second pass each chunk's
    vectors are computed again, with graph, and that gradient is propagated. `describe` must give the same vectors
    both times: no dropout, and BatchNorm with frozen statistics. Ranks share the chunks.

    Args:
        describe: a chunk of images → unit vectors, of shape (n, D).
        chunks: images; each chunk fits into memory. At least one for each rank.
        loss_of: the vectors of all images, in order and of shape (N, D) → a scalar.

    Returns:
        The loss, without graph. The parameters' gradients, summed over ranks, are those of
        `loss_of(describe(all images)).backward()`.
    """
    ends = np.cumsum([len(chunk) for chunk in chunks])
    own = [
        (chunk, slice(end - len(chunk), end)) for chunk, end in distributed.share(list(zip(chunks, ends, strict=True)))
    ]
    with torch.no_grad():
        vectors = [describe(chunk) for chunk, _ in own]
    joined = vectors[0].new_zeros(int(ends[-1]), vectors[0].shape[1])
    for (_, rows), part in zip(own, vectors, strict=True):
        joined[rows] = part
    distributed.all_reduce_sum(joined).requires_grad_()
    loss = loss_of(joined)
    (gradient,) = torch.autograd.grad(loss, joined)
    for chunk, rows in own:
        torch.autograd.backward(describe(chunk), gradient[rows])
    return loss.detach()
