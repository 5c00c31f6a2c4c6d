"""The tuples of CFCD's second phase: many negatives are images that the classifier confuses (Zhu et al., ICCV 2023)."""

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from lrcr.errors import DatasetError
from lrcr.training.tuples import TrainingSet

Ids = npt.NDArray[np.int64]

_CHUNK = 1024  # images whose cosines to all classes are in memory at the same time


def predict_classes(vectors: Tensor, weights: Tensor) -> Ids:
    """The class of the highest cosine for each image.

    Args:
        vectors: of the images, of shape (n, D).
        weights: of the classifier, of shape (C, D).

    Returns:
        Of shape (n,).
    """
    unit = F.normalize(weights, dim=1).T
    found: Ids = torch.cat([(rows @ unit).argmax(dim=1) for rows in torch.split(vectors, _CHUNK)]).cpu().numpy()
    return found


def draw_tuples(
    images: TrainingSet, classes: Ids, predicted: Ids, count: int, negatives: int, rng: np.random.Generator
) -> Ids:
    """At most `count` tuples: anchor, positive, and N negatives of other classes, all different.

    The false positives of a class are the images of other classes that the classifier takes for it. A negative of an
    anchor that is classified correctly is, with probability ½, a false positive of its class. A negative of any other
    anchor is, with probability ⅓, a false positive of the anchor's class, and with half of the rest an image of the
    class that the anchor is taken for. All others are images of random other classes.

    Args:
        images: n images.
        classes: of the images, of shape (n,); each class has an image.
        predicted: by the classifier, of shape (n,).
        count: number of tuples; an image is the anchor of one at most.
        negatives: N.
        rng: draws everything.

    Returns:
        Image ids, of shape (≤ count, 2 + N).

    Raises:
        DatasetError: no two images share a class, or there are too few images of other classes.
    """
    pairs = images.draw_pairs(count, rng)
    others = len(classes) - int(np.bincount(classes).max())
    if others < negatives:
        raise DatasetError(
            f"training: {negatives} negatives need as many images of other landmarks, there are {others}; add landmarks"
        )
    sampler = _Negatives(classes, predicted)
    return np.array([[*pair, *sampler.draw(int(pair[0]), negatives, rng)] for pair in pairs], np.int64)


class _Negatives:
    """Draws the negatives of an anchor; see `draw_tuples`."""

    def __init__(self, classes: Ids, predicted: Ids) -> None:
        self.classes, self.predicted = classes, predicted
        wrong, total = np.flatnonzero(predicted != classes), int(classes.max()) + 1
        self.of_class = _by_class(np.arange(len(classes)), classes, total)
        self.false_positives = _by_class(wrong, predicted[wrong], total)

    def draw(self, anchor: int, count: int, rng: np.random.Generator) -> list[int]:
        own, taken_for = int(self.classes[anchor]), int(self.predicted[anchor])
        likely = 1 / 2 if own == taken_for else 1 / 3
        false_positives = rng.permutation(self.false_positives[own]).tolist()
        confused = [] if own == taken_for else rng.permutation(self.of_class[taken_for]).tolist()
        drawn: list[int] = []
        while len(drawn) < count:
            if false_positives and rng.random() < likely:
                image = false_positives.pop()
            elif confused and rng.random() < 1 / 2:
                image = confused.pop()
            else:
                image = self._of_another_class(own, rng)
            if image not in drawn:
                drawn.append(image)
        return drawn

    def _of_another_class(self, own: int, rng: np.random.Generator) -> int:
        other = int(rng.integers(len(self.of_class) - 1))
        images = self.of_class[other + (other >= own)]
        return int(images[rng.integers(len(images))])


def _by_class(images: Ids, classes: Ids, total: int) -> list[Ids]:
    """The images of each of `total` classes."""
    order = np.argsort(classes, kind="stable")
    return np.split(images[order], np.cumsum(np.bincount(classes, minlength=total))[:-1])
