"""The losses of super-features of FIRe (Weinzaepfel, Lucas, Larlus, Kalantidis, ICLR 2022, section 3.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from lrcr.losses.contrastive import contrastive_loss
from lrcr.losses.matches import mutual_nearest_neighbours, passes_ratio_test


def super_feature_loss(
    query: Tensor, positive: Tensor, negatives: Tensor, margin: float = 1.1, ratio: float = 0.9
) -> Tensor:
    """The contrastive loss of the super-features of a query that match those of its positive.

    The negatives of a match are the super-features of its template in the negative images. The search for matches has
    no gradient. Without a match the loss is 0.

    Args:
        query: super-features of N templates, of shape (N, d); need not be normalised.
        positive: of the same templates, of shape (N, d).
        negatives: of the same templates in other images, of shape (images, N, d).
        margin: in units of the distance of unit vectors.
        ratio: see `matched_templates`.

    Returns:
        A scalar; summed, not averaged.
    """
    query, positive, negatives = (F.normalize(features, dim=-1) for features in (query, positive, negatives))
    rows = matched_templates(query.detach(), positive.detach(), ratio)
    return contrastive_loss(query[rows], positive[rows], negatives[:, rows].transpose(0, 1), margin)


def matched_templates(query: Tensor, positive: Tensor, ratio: float) -> Tensor:
    """The templates whose super-features match: mutual nearest neighbours that pass the ratio test.

    Args:
        query: unit vectors of shape (N, d), one a template.
        positive: of the same templates, of shape (N, d).
        ratio: largest ratio of the distances from the positive's super-feature to the nearest and to the second nearest
            super-feature of the query.

    Returns:
        Of shape (matches,).
    """
    rows, positive_rows = mutual_nearest_neighbours(query, positive)
    return rows[(rows == positive_rows) & passes_ratio_test(positive[positive_rows], query, rows, ratio)]


def decorrelation_loss(attention: Tensor) -> Tensor:
    """The mean cosine of the attention maps of every two different super-features of an image.

    Args:
        attention: of N ≥ 2 super-features of an image, of shape (N, H, W).

    Returns:
        A scalar.
    """
    maps = F.normalize(attention.flatten(1), dim=1)
    cosines = maps @ maps.T
    off_diagonal: Tensor = cosines[~torch.eye(len(maps), dtype=torch.bool, device=maps.device)]
    return off_diagonal.mean()
