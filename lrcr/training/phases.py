"""The phases of a training: run the epochs of a trainer, keep the best by validation mAP, resume after a kill.

The weights with which a validated phase starts are a candidate too: it makes no model worse on the validation photos.
"""

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
"""Called with the values of an epoch: epoch, loss, rate, validation_map, and those that its trainer adds.

Before the first epoch of a phase it is called with the number of epochs so far and the validation_map at its start. If
it is measured, the validation_loss stands beside every validation_map.
"""


class Trainer(Protocol):
    """A training that runs epoch by epoch."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The optimiser whose state a checkpoint stores."""
        ...

    @property
    def trained(self) -> nn.Module:
        """The module whose weights a checkpoint stores."""
        ...

    def run_epoch(self, epoch: int, first: int) -> dict[str, float]:
        """Train one epoch; returns the values for the log.

        Args:
            epoch: from 1, counted over all phases.
            first: the first epoch of this phase.
        """
        ...


@dataclass
class Phases:
    """Runs the phases of a training, one after the other.

    Args:
        folder: of the checkpoints, one for each phase.
        validate: returns the validation mAP of the current model.
        every: number of epochs between two validations; the last epoch of a phase is always validated.
        log: called with the values of each epoch, also of epochs that ran before a kill.
        done: number of epochs of all phases so far.
        loss: returns the loss of the validation photos by the current model, on all ranks; None: it is not measured.
    """

    folder: Path
    validate: Callable[[], float]
    every: int
    log: Log
    done: int = 0
    loss: Callable[[], float] | None = None

    def run(
        self, name: str, trainer: Trainer, *, epochs: int, validated: bool = True, start_score: float | None = None
    ) -> TrainingState:
        """Run the epochs of one phase that its checkpoint does not contain.

        At the end, the trained module has the weights of the last epoch. The best weights are those of an epoch, or
        those at the start of the phase if no validated epoch is better.

        Args:
            name: of the phase and of its checkpoint.
            epochs: number of epochs of this phase; 0: only its start is validated.
            validated: False: no epoch of this phase is validated, so the state has no best weights.
            start_score: the validation mAP at the start, if an earlier phase has found it; None: it is measured.
        """
        checkpoint, done, trained = self.folder / f"{name}.pt", self.done, trainer.trained
        self.done = last = done + epochs
        if not any(parameter.requires_grad for parameter in trained.parameters()):
            _LOG.warning("training: nothing to train (train.freeze, learning rates); the model is not changed")
            return TrainingState(best=copy_weights(trained))
        state = resume(checkpoint, trained, trainer.optimizer)
        for values in state.history:
            self.log(values)
        begun = int(state.history[-1]["epoch"]) + 1 if state.history else done if validated else done + 1
        for epoch in range(begun, last + 1):
            values = trainer.run_epoch(epoch, first=done + 1) if epoch > done else {"epoch": epoch}
            if validated and ((epoch - done) % self.every == 0 or epoch == last):
                if self.loss is not None:
                    values["validation_loss"] = self.loss()
                known = start_score if epoch == done else None
                values["validation_map"] = score = distributed.broadcast(self.validate) if known is None else known
                if score > state.best_score:
                    state.best_score, state.best = score, copy_weights(trained)
            state.history.append(values)
            if distributed.rank() == 0:
                save_checkpoint(checkpoint, state, trained, trainer.optimizer)
            self.log(values)
        if validated and epochs and state.best_score == state.history[0]["validation_map"]:
            _LOG.warning("training: no epoch is better on the validation photos than the start; the start is kept")
        return state


def copy_weights(module: nn.Module) -> dict[str, Tensor]:
    """A copy of a module's parameters and buffers."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}
