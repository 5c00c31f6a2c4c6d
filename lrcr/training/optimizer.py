"""The optimiser of a model's parts: each part with its learning rate, decayed by epochs, new layers warmed up."""

from collections.abc import Sequence

import torch

from lrcr.config.training import AdamParams
from lrcr.models.model import Model

_RATES = {
    "backbone": "backbone",
    "smoothing": "context",
    "graph": "context",
    "attention": "context",
    "pooling": "context",
    "projection": "context",
    "whitening": "whitening",
}
"""Which of the `learning_rates` each part of a model has."""


class PartsOptimizer:
    """Adam over a model's parts; parts that are not trained get no gradient.

    Args:
        settings: learning rates, warm-up and decay.
        model: its `parts` are trained.
        frozen: whether the trunk is not trained.
        chosen: train only these parts, where their learning rates are above zero; None takes all.
    """

    def __init__(
        self,
        settings: AdamParams,
        model: Model,
        *,
        weight_decay: float,
        frozen: bool,
        chosen: Sequence[str] | None = None,
    ) -> None:
        self.settings = settings
        parts = model.parts()
        rates = settings.learning_rates.model_dump()
        if frozen:
            rates["backbone"] = 0.0
        self.rates = {part: rates[_RATES[part]] if chosen is None or part in chosen else 0.0 for part in parts}
        for part, parameters in parts.items():
            for parameter in parameters:
                parameter.requires_grad_(self.rates[part] > 0)
        groups = [{"params": parameters, "lr": self.rates[part]} for part, parameters in parts.items()]
        self.adam = torch.optim.Adam(groups, weight_decay=weight_decay)

    def set_rates(self, epochs: int, steps: int) -> None:
        """Decay the learning rates by finished epochs; those of the context first rise, step by step."""
        settings = self.settings
        for (part, rate), group in zip(self.rates.items(), self.adam.param_groups, strict=True):
            warm = min(1.0, (steps + 1) / (settings.warmup_steps + 1)) if _RATES[part] == "context" else 1.0
            group["lr"] = rate * settings.lr_decay**epochs * warm

    @property
    def largest_rate(self) -> float:
        """The largest learning rate at present, for the log."""
        return max(float(group["lr"]) for group in self.adam.param_groups)
