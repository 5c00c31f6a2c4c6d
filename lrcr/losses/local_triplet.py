"""The loss of CFCD's second stage: a triplet on matched local descriptors (Zhu et al., ICCV 2023)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lrcr.losses.matches import mutually_nearest
from lrcr.losses.triplet import triplet_loss


def local_triplet_loss(descriptors: Tensor, attention: Tensor, margin: float = 0.1, ratio: float = 0.9) -> Tensor:
    """Σ max(0, ‖a − p‖² − ‖a − n‖² + m) over matches (a, p) of anchor and positive, and negative images.

    A match's negative n is the descriptor of that image nearest to a. Matches and negatives are found without
    gradient, their descriptors carry it. An anchor and positive without a match cost 0.

    Args:
        descriptors: of the images of one tuple (anchor, positive, negatives…), each with n locations, of shape
            (2 + N, n, D), N ≥ 1; need not be normalised.
        attention: of the same images and locations, of shape (2 + N, n); only the positive's counts.
        margin: m, in units of the squared distance of unit vectors.
        ratio: see `match`.

    Returns:
        A scalar; summed, not averaged.
    """
    anchor, positive, *negatives = F.normalize(descriptors, dim=-1).unbind()
    here, there = match(anchor.detach(), positive.detach(), attention[1], ratio)
    anchors = anchor[here]
    hard = [image[(anchors.detach() @ image.detach().T).argmax(dim=1)] for image in negatives]
    return triplet_loss(anchors, positive[there], torch.stack(hard, dim=1), margin)


def match(anchor: Tensor, positive: Tensor, attention: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """Mutually nearest descriptors, where the match is distinct and the positive attends to it.

    Args:
        anchor: unit vectors of shape (n, D).
        positive: unit vectors of shape (m, D).
        attention: of the positive, of shape (m,); of a match it must exceed the (lower) median.
        ratio: what the distance from the positive's descriptor to the nearest anchor descriptor may be at most of
            that to the second nearest; a single anchor descriptor has no second and passes.

    Returns:
        Rows of the anchor and of the positive, each of shape (matches,).
    """
    here, there = mutually_nearest(anchor, positive)
    distances = torch.cdist(positive[there], anchor)
    nearest = distances.gather(1, here[:, None])
    second = distances.scatter(1, here[:, None], torch.inf).amin(dim=1, keepdim=True)
    kept = (nearest <= ratio * second)[:, 0] & (attention[there] > attention.median())
    return here[kept], there[kept]
