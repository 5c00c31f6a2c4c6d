"""The phases of a training: epochs of one trainer, the best of them by validation mAP, continued after a kill."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from lrcr.runtime import distributed
from lrcr.training.checkpoint import TrainingState, resume, save_checkpoint

_LOG = logging.getLogger(__name__)

Log = Callable[[dict[str, float]], None]
"""Receives the values of an epoch: epoch (from 1), loss, rate, validation_map, and what its trainer adds."""


class Trainer(Protocol):
    """One kind of training, epoch by epoch."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Whose state a checkpoint stores."""
        ...

    @property
    def trained(self) -> nn.Module:
        """Whose weights a checkpoint stores."""
        ...

    def run_epoch(self, epoch: int, first: int) -> dict[str, float]:
        """Train one epoch (from 1, over all phases; `first` is that of this phase) and return what is logged."""
        ...


@dataclass(frozen=True)
class Phases:
    """Runs phases of training.

    Args:
        folder: in which every phase keeps its checkpoint.
        validate: the validation mAP of the model as it is.
        every: epochs between two validations; the last epoch of a phase is always validated.
    """

    folder: Path
    validate: Callable[[], float]
    every: int
    log: Log

    def run(self, name: str, trainer: Trainer, *, epochs: int, done: int = 0) -> TrainingState:
        """Run the epochs of one phase that are still to do; `done` epochs were those of earlier phases."""
        checkpoint, last, trained = self.folder / f"{name}.pt", done + epochs, trainer.trained
        if not any(parameter.requires_grad for parameter in trained.parameters()):
            _LOG.warning("training: nothing to train (train.freeze, learning rates); the model stays off the shelf")
            return TrainingState(best=copy_weights(trained))
        state = resume(checkpoint, trained, trainer.optimizer)
        for values in state.history:
            self.log(values)
        for epoch in range(done + len(state.history) + 1, last + 1):
            values = trainer.run_epoch(epoch, first=done + 1)
            if (epoch - done) % self.every == 0 or epoch == last:
                values["validation_map"] = distributed.broadcast(self.validate)
                if values["validation_map"] > state.best_score:
                    state.best_score, state.best = values["validation_map"], copy_weights(trained)
            state.history.append(values)
            if distributed.rank() == 0:
                save_checkpoint(checkpoint, state, trained, trainer.optimizer)
            self.log(values)
        return state


def copy_weights(module: nn.Module) -> dict[str, Tensor]:
    """A copy of a module's parameters and buffers."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}
