"""Adam with a learning rate for each part of a model, with decay per epoch and warm-up of newly initialised parts."""

from collections.abc import Sequence

import torch

from lrcr.config.tuples import AdamParams
from lrcr.models.model import Model

_RATES = {
    "backbone": "backbone",
    "smoothing": "context",
    "graph": "context",
    "super_features": "context",
    "attention": "context",
    "pooling": "context",
    "projection": "context",
    "whitening": "whitening",
}
"""Part of a model → the key of its learning rate in `learning_rates`."""


class PartsOptimizer:
    """Adam over the parts of a model; parts with a learning rate of zero get no gradient.

    Args:
        settings: learning rates, warm-up and decay.
        model: whose `parts` are trained, without the frozen stages of its backbone.
        chosen: the parts to train, with learning rates above zero; None: all parts.
    """

    def __init__(
        self,
        settings: AdamParams,
        model: Model,
        *,
        weight_decay: float,
        chosen: Sequence[str] | None = None,
    ) -> None:
        self.settings = settings
        parts = model.parts()
        rates = settings.learning_rates.model_dump()
        if not model.backbone.trained:
            rates["backbone"] = 0.0
        self.rates = {part: rates[_RATES[part]] if chosen is None or part in chosen else 0.0 for part in parts}
        for part, parameters in parts.items():
            for parameter in parameters:
                parameter.requires_grad_(self.rates[part] > 0)
        for parameter in model.backbone.frozen_parameters():
            parameter.requires_grad_(False)
        groups = [{"params": parameters, "lr": self.rates[part]} for part, parameters in parts.items()]
        self.adam = torch.optim.Adam(groups, weight_decay=weight_decay)

    def set_rates(self, epochs: int, steps: int) -> None:
        """Set the learning rates: decay after `epochs` epochs, warm-up of the context's rate after `steps` steps."""
        settings = self.settings
        for (part, rate), group in zip(self.rates.items(), self.adam.param_groups, strict=True):
            warm = min(1.0, (steps + 1) / (settings.warmup_steps + 1)) if _RATES[part] == "context" else 1.0
            group["lr"] = rate * settings.lr_decay**epochs * warm

    @property
    def largest_rate(self) -> float:
        """The largest current learning rate of the parts that the model has, for the log."""
        return max(float(group["lr"]) for group in self.adam.param_groups if group["params"])
