"""The tuples of CFCD's second phase: negatives are drawn from confused classes (Zhu et al., ICCV 2023)."""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from lrcr.errors import DatasetError
from lrcr.training.tuples import TrainingSet

Ids = npt.NDArray[np.int64]

_CHUNK = 1024  # classes whose confusion with all others is in memory at the same time


def confused_classes(vectors: Tensor, classes: Tensor, weights: Tensor, count: int) -> Ids:
    """The classes that the classifier confuses most with each class.

    The confusion of classes a and b is the mean cosine of the images of a to the classifier's weight of b, plus the
    mean cosine of the images of b to the weight of a.

    Args:
        vectors: of the training images, of shape (n, D).
        classes: row of each image's class in `weights`, int64, of shape (n,).
        weights: of the classifier, of shape (C, D).
        count: N ≥ 1, number of confused classes of each class.

    Returns:
        Of shape (C, N), the most confused first, without the class itself and without classes that have no images.

    Raises:
        DatasetError: there are fewer than N + 1 classes with images.
    """
    sizes = torch.bincount(classes, minlength=len(weights))
    present = int((sizes > 0).sum())
    if present <= count:
        raise DatasetError(
            f"training: {count} negatives need {count + 1} landmarks, there are {present}; add landmarks"
        )
    weights = F.normalize(weights, dim=1)
    sums = torch.zeros_like(weights).index_add(0, classes, F.normalize(vectors, dim=1))
    means = sums / sizes.clamp_min(1)[:, None]
    confused = []
    for rows in torch.split(torch.arange(len(weights), device=weights.device), _CHUNK):
        confusion = means[rows] @ weights.T + weights[rows] @ means.T
        confusion[:, sizes == 0] = -torch.inf
        confusion[torch.arange(len(rows), device=rows.device), rows] = -torch.inf
        confused.append(confusion.topk(count, dim=1).indices)
    found: Ids = torch.cat(confused).cpu().numpy()
    return found


def draw_tuples(images: TrainingSet, classes: Ids, confused: Ids, count: int, rng: np.random.Generator) -> Ids:
    """At most `count` tuples: anchor, positive, and one image of each of the N classes confused with the anchor's.

    An image is the anchor of one tuple at most. An image that is alone in its class can only be a negative.

    Args:
        images: n images.
        classes: row of each image's class in `confused`, of shape (n,).
        confused: from `confused_classes`, of shape (C, N).
        count: number of tuples.
        rng: draws the anchors, the positives and the images of the confused classes.

    Returns:
        Image ids, of shape (≤ count, 2 + N).

    Raises:
        DatasetError: no two images share a class.
    """
    pairs = images.draw_pairs(count, rng)
    order = np.argsort(classes, kind="stable")
    sizes = np.bincount(classes, minlength=len(confused))
    starts = np.cumsum(sizes) - sizes
    wanted = confused[classes[pairs[:, 0]]]
    negatives = order[starts[wanted] + rng.integers(0, sizes[wanted])]
    return np.concatenate([pairs, negatives], axis=1)
