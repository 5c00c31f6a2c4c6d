"""The checkpoint from which a killed training continues: one file, replaced after every epoch."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrcr.runtime import distributed
from lrcr.storage.artifacts import staged_file


@dataclass
class TrainingState:
    """The state of one phase after its finished epochs.

    Args:
        history: the logged values of the start and of each finished epoch.
        best: the best weights so far; None before the first validation.
        best_score: their validation mAP.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] | None = None
    best_score: float = float("-inf")

    @property
    def weights(self) -> dict[str, Tensor]:
        """The best weights; a phase must have been validated."""
        assert self.best is not None, "no epoch was validated"
        return self.best


def save_checkpoint(path: Path, state: TrainingState, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write the state, the weights of the model and the state of the optimiser, atomically."""
    contents = {
        "history": state.history,
        "best": state.best,
        "best_score": state.best_score,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    }
    with staged_file(path) as temporary:
        torch.save(contents, temporary)


def resume(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> TrainingState:
    """Load the checkpoint of rank 0 into model and optimiser; without a checkpoint, return an empty state."""

    def read() -> dict[str, Any] | None:
        return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None

    contents = distributed.broadcast(read)
    if contents is None:
        return TrainingState()
    model.load_state_dict(contents["model"])
    optimizer.load_state_dict(contents["optimizer"])
    return TrainingState(contents["history"], contents["best"], contents["best_score"])
