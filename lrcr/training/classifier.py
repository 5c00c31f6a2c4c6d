"""The classifier of CFCD's training, which is dropped afterwards (Zhu et al., ICCV 2023)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrcr.models.model import Model
from lrcr.runtime.seeds import derive_seed


class ClassifierHead(nn.Module):
    """A model and a cosine classifier on its training descriptor.

    Args:
        model: of D dimensions.
        classes: how many.
        seed: of the params; draws the classifier's weights, of shape (classes, D).
    """

    def __init__(self, model: Model, classes: int, seed: int) -> None:
        super().__init__()
        self.model = model
        generator = torch.Generator().manual_seed(derive_seed(seed, "classifier") % 2**63)
        drawn = torch.rand(classes, model.dim, generator=generator)
        # Cosines do not depend on the weights' length, but the speed at which SGD turns them does: the authors' length.
        drawn = (2 * drawn - 1) / model.dim**0.5
        self.weights = nn.Parameter(drawn.to(next(model.parameters()).device))

    def cosines(self, vectors: Tensor) -> Tensor:
        """Of unit vectors of shape (B, D) to each class: of shape (B, classes)."""
        return vectors @ F.normalize(self.weights, dim=1).T
