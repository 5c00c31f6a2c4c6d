"""A loss on local matches: contrastive over the mutually nearest descriptors of a pair of images.

The sum that a global descriptor is gives each location a weak and mixed signal; ASMK compares location by location.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lrcr.losses.contrastive import contrastive_loss


def match_loss(query: Tensor, positive: Tensor, negatives: Sequence[Tensor], margin: float) -> Tensor:
    """The contrastive loss of each matched descriptor of the query, averaged over them.

    Matches are the mutually nearest descriptors of query and positive; each one's negatives are the nearest descriptor
    of every negative image. Both are found without gradient.

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
        here, there = mutually_nearest(query, positive)
    anchors = query[here]
    with torch.no_grad():
        nearest = [(anchors @ other.T).argmax(dim=1) for other in others]
    hard = [other[rows] for other, rows in zip(others, nearest, strict=True)]
    stacked = torch.stack(hard, dim=1) if hard else anchors.new_zeros(len(anchors), 0, anchors.shape[1])
    return contrastive_loss(anchors, positive[there], stacked, margin) / len(anchors)


def mutually_nearest(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Rows i of a and j of b, unit vectors, of which each is the other's nearest; there is always such a pair."""
    similarity = a @ b.T
    forth, back = similarity.argmax(dim=1), similarity.argmax(dim=0)
    rows = torch.arange(len(a), device=a.device)
    mutual = back[forth] == rows
    return rows[mutual], forth[mutual]
