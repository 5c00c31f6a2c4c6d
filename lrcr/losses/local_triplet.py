"""The local loss of CFCD's second phase: a triplet loss on matched local descriptors (Zhu et al., ICCV 2023)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lrcr.losses.matches import mutual_nearest_neighbours, passes_ratio_test
from lrcr.losses.triplet import triplet_loss


def local_triplet_loss(descriptors: Tensor, attention: Tensor, margin: float = 0.1, ratio: float = 0.9) -> Tensor:
    """Σ max(0, ‖a − p‖² − ‖a − n‖² + m) over the matches (a, p) of anchor and positive, and over the negative images.

    n is the nearest descriptor to a in the negative image. The search for matches and nearest descriptors has
    no gradient; the distances have one. Without a match the loss is 0.

    Args:
        descriptors: of the images of one tuple (anchor, positive, negatives…), each with n locations, of shape
            (2 + N, n, D), N ≥ 1; need not be normalised.
        attention: of the same images and locations, of shape (2 + N, n); only that of the positive is used.
        margin: m, in units of the squared distance of unit vectors.
        ratio: see `match`.

    Returns:
        A scalar; summed, not averaged.
    """
    anchor, positive, *negatives = F.normalize(descriptors, dim=-1).unbind()
    rows, positive_rows = match(anchor.detach(), positive.detach(), attention[1], ratio)
    anchors = anchor[rows]
    hard = [image[(anchors.detach() @ image.detach().T).argmax(dim=1)] for image in negatives]
    return triplet_loss(anchors, positive[positive_rows], torch.stack(hard, dim=1), margin)


def match(anchor: Tensor, positive: Tensor, attention: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """The mutual nearest neighbours that pass the ratio test (Lowe, IJCV 2004) and have a high attention.

    Args:
        anchor: unit vectors of shape (n, D).
        positive: unit vectors of shape (m, D).
        attention: of the positive, of shape (m,); that of a match must be larger than the (lower) median.
        ratio: largest ratio of the distances from the positive's descriptor to its nearest and to its second nearest
            anchor descriptor. With a single anchor descriptor all matches pass.

    Returns:
        The rows of the matches in the anchor and in the positive, each of shape (matches,).
    """
    rows, positive_rows = mutual_nearest_neighbours(anchor, positive)
    kept = passes_ratio_test(positive[positive_rows], anchor, rows, ratio)
    kept &= attention[positive_rows] > attention.median()
    return rows[kept], positive_rows[kept]
