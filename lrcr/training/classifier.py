"""The classifier of training on labels; it is not part of the trained model."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrcr.config.labels import ClassificationParams
from lrcr.losses.arcface import arcface_logits
from lrcr.losses.madacos import MadaCos, cosine_logits, madacos
from lrcr.models.model import Model
from lrcr.runtime.seeds import derive_seed

_USUAL = ClassificationParams()


class ClassifierHead(nn.Module):
    """A model and a classifier on its training descriptor, and on its local branch if it has one.

    Args:
        model: with a training descriptor of D dimensions.
        classes: number of classes.
        seed: of the params; the classifier's weights, of shape (classes, D), are drawn by it.
        settings: what kind of classifier it is.
    """

    def __init__(self, model: Model, classes: int, seed: int, settings: ClassificationParams = _USUAL) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        generator = torch.Generator().manual_seed(derive_seed(seed, "classifier") % 2**63)
        device = next(model.parameters()).device

        def draw(dim: int) -> nn.Parameter:
            # The norm of the weights affects not the cosines but the effective learning rate: CFCD's norm is used.
            return nn.Parameter(((2 * torch.rand(classes, dim, generator=generator) - 1) / dim**0.5).to(device))

        self.weights = draw(model.dim)
        self.bias = nn.Parameter(torch.zeros(classes, device=device)) if settings.head == "linear" else None
        self.scale = nn.Parameter(torch.tensor(settings.scale, device=device)) if settings.head == "arcface" else None
        self.local_weights = draw(model.backbone.channels) if model.supports("local branch") else None
        self.local_bias = nn.Parameter(torch.zeros(classes, device=device)) if self.local_weights is not None else None

    def classify(self, vectors: Tensor, labels: Tensor) -> MadaCos:
        """The logits of unit vectors of shape (B, D), whose cross-entropy with labels of shape (B,) is the loss."""
        settings = self.settings
        if settings.head == "linear":
            return _constant(F.linear(settings.scale * vectors, self.weights, self.bias), labels, 1.0, 0.0)
        cosines = self.cosines(vectors)
        if settings.head == "madacos":
            return madacos(cosines, labels, settings.alpha)
        if self.scale is None:
            return _constant(cosines, labels, settings.scale, settings.margin)
        logits = arcface_logits(cosines, labels, self.scale, settings.margin)
        return MadaCos(
            logits, self.scale.detach().clone(), cosines.new_tensor(settings.margin), _median(cosines, labels)
        )

    def cosines(self, vectors: Tensor) -> Tensor:
        """The cosines of unit vectors of shape (B, D) to the weight of each class: of shape (B, classes)."""
        return vectors @ F.normalize(self.weights, dim=1).T

    def local_losses(self, features: Tensor, labels: Tensor) -> Tensor | None:
        """The loss of the model's local branch, of shape (B,); None if it has none.

        Args:
            features: of the backbone, of shape (B, C, H, W).
            labels: of shape (B,).
        """
        branch = self.model.local_branch(features)
        if branch is None or self.local_weights is None:
            return None
        errors, vectors = branch
        logits = F.linear(self.settings.scale * vectors, self.local_weights, self.local_bias)
        return self.settings.reconstruction * errors + F.cross_entropy(logits, labels, reduction="none")


def _constant(values: Tensor, labels: Tensor, scale: float, margin: float) -> MadaCos:
    """Logits of values of shape (B, classes) with a constant scale and margin."""
    constants = values.new_tensor(scale), values.new_tensor(margin)
    return MadaCos(cosine_logits(values, labels, *constants), *constants, _median(values, labels))


def _median(values: Tensor, labels: Tensor) -> Tensor:
    return values.gather(1, labels[:, None]).median()
