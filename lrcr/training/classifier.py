"""The classifier of training on labels; it is not part of the trained model."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrcr.models.model import Model
from lrcr.runtime.seeds import derive_seed


class ClassifierHead(nn.Module):
    """A model and a classifier on its training descriptor: of cosines (Zhu et al., ICCV 2023), or linear.

    Args:
        model: with a training descriptor of D dimensions.
        classes: number of classes.
        seed: of the params; the classifier's weights, of shape (classes, D), are drawn by it.
        linear: whether the classifier has a bias, of shape (classes,), and `logits`.
    """

    def __init__(self, model: Model, classes: int, seed: int, *, linear: bool = False) -> None:
        super().__init__()
        self.model = model
        generator = torch.Generator().manual_seed(derive_seed(seed, "classifier") % 2**63)
        drawn = torch.rand(classes, model.dim, generator=generator)
        # The norm of the weights affects not the cosines but the effective learning rate: the authors' norm is used.
        drawn = (2 * drawn - 1) / model.dim**0.5
        self.weights = nn.Parameter(drawn.to(next(model.parameters()).device))
        self.bias = nn.Parameter(self.weights.new_zeros(classes)) if linear else None

    def cosines(self, vectors: Tensor) -> Tensor:
        """The cosines of unit vectors of shape (B, D) to the weight of each class: of shape (B, classes)."""
        return vectors @ F.normalize(self.weights, dim=1).T

    def logits(self, vectors: Tensor) -> Tensor:
        """The linear layer on unit vectors of shape (B, D): of shape (B, classes)."""
        return F.linear(vectors, self.weights, self.bias)
