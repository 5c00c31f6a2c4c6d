"""The parts of a model that are trained: each with its rate, decayed by epochs, new ones warmed up."""

from collections.abc import Sequence

import torch

from lrcr.config.training import TrainParams
from lrcr.models.factory import Model

_RATES = {
    "backbone": "backbone",
    "smoothing": "context",
    "graph": "context",
    "attention": "context",
    "pooling": "context",
    "projection": "context",
    "whitening": "whitening",
}
"""Which of `train.rates` each part of a model has."""


class Parts:
    """Adam over a model's parts; those that are not trained get no gradient.

    Args:
        settings: rates, freeze, warm-up and decay.
        model: its `parts` are trained.
        chosen: only these parts, as far as their rates are above zero; None takes all.
    """

    def __init__(self, settings: TrainParams, model: Model, chosen: Sequence[str] | None = None) -> None:
        self.settings = settings
        parts = model.parts()
        rates = settings.rates.model_dump()
        if settings.freeze == "backbone":
            rates["backbone"] = 0.0
        self.rates = {part: rates[_RATES[part]] if chosen is None or part in chosen else 0.0 for part in parts}
        for part, parameters in parts.items():
            for parameter in parameters:
                parameter.requires_grad_(self.rates[part] > 0)
        groups = [{"params": parameters, "lr": self.rates[part]} for part, parameters in parts.items()]
        self.optimizer = torch.optim.Adam(groups, weight_decay=settings.weight_decay)

    def set_rates(self, epochs: int, steps: int) -> None:
        """Decay the rates by finished epochs; those of the context first rise, step by step."""
        settings = self.settings
        for (part, rate), group in zip(self.rates.items(), self.optimizer.param_groups, strict=True):
            warm = min(1.0, (steps + 1) / (settings.warmup + 1)) if _RATES[part] == "context" else 1.0
            group["lr"] = rate * settings.decay**epochs * warm

    @property
    def largest_rate(self) -> float:
        """The largest rate as it is now, for the log."""
        return max(float(group["lr"]) for group in self.optimizer.param_groups)
