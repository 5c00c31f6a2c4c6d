"""What training needs to continue after it was killed: one file, replaced after every epoch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrcr.runtime import distributed
from lrcr.storage.artifacts import staged_file


@dataclass
class Progress:
    """How far training has come.

    Args:
        history: the logged values of each finished epoch.
        best: weights of the best epoch so far, None before the first.
        best_score: its validation mAP.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    best_score: float = float("-inf")

    @property
    def weights(self) -> dict[str, Tensor]:
        """Weights of the best epoch, once one was validated (the last of a phase always is)."""
        assert self.best is not None, "no epoch was validated"
        return self.best


def save_checkpoint(path: Path, progress: Progress, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Store progress, weights and the optimiser's state, atomically."""
    state = {
        "history": progress.history,
        "best": progress.best,
        "best_score": progress.best_score,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    with staged_file(path) as temporary:
        torch.save(state, temporary)


def resume(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> Progress:
    """Load the first rank's checkpoint into model and optimiser; without one, start at the beginning."""

    def read() -> dict[str, Any] | None:
        return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None

    state = distributed.broadcast(read)
    if state is None:
        return Progress()
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return Progress(state["history"], state["best"], state["best_score"])
