"""The trainer for tuples."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from lrcr.config.tuples import TuplesParams
from lrcr.data.dataset import Ids, Photo
from lrcr.errors import LrcrError
from lrcr.models.backbone import freeze_batchnorm_stats
from lrcr.runtime import distributed
from lrcr.runtime.seeds import derive_seed, generator
from lrcr.training.objective import Objective
from lrcr.training.optimizer import PartsOptimizer
from lrcr.training.setup import Setup
from lrcr.training.tuple_loss import TupleLoss, batches_of, mean_loss
from lrcr.training.tuple_sampler import TupleSampler

_COLLAPSED = 1e-3  # mean distance of queries and negatives, with which the model is said to have collapsed
_log = logging.getLogger(__name__)


class TupleTrainer:
    """Trains parts of a model on tuples; see `lrcr.training.phases.Trainer`.

    Args:
        settings: batch size and scales; learning rates of the parts.
        objective: the loss over tuples.
        parts: the parts to train, with learning rates above zero; None: all parts.
    """

    def __init__(
        self,
        setup: Setup,
        settings: TuplesParams,
        objective: Objective,
        *,
        parts: Sequence[str] | None = None,
    ) -> None:
        self.setup = setup
        self.settings = settings
        self.objective = objective
        self.sampler = TupleSampler(setup, settings)
        self.loss = TupleLoss(objective, setup.maps, settings.scales, setup.images.photos)
        self.parts = PartsOptimizer(settings, setup.model, weight_decay=setup.weight_decay, chosen=parts)

    @property
    def trained(self) -> nn.Module:
        """The module whose weights a checkpoint stores."""
        return self.setup.model

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Adam over the parts."""
        return self.parts.adam

    def run_epoch(self, epoch: int, first: int = 1) -> dict[str, float]:
        """Draw the tuples of this epoch and take one step for each batch; returns the values for the log.

        Args:
            epoch: from 1, counted over all phases.
            first: the first epoch of this phase, in which decay and warm-up start.

        Raises:
            LrcrError: the loss is not finite, or the vectors of different landmarks have become equal.
        """
        setup, size = self.setup, self.settings.batch_size
        tuples, pool, distance = self.sampler.draw(epoch)
        if distance is not None and distance < _COLLAPSED:
            raise LrcrError(
                f"training: epoch {epoch}: the vectors of different landmarks are equal (distance {distance:.2g}): "
                "the model has collapsed; lower train.tuples.learning_rates, or start from weights"
            )
        if epoch == first and distance is not None:
            self._warn_of_margin(distance)
        self.objective.on_epoch_start(pool, epoch)
        self.loss.photos = self._draw_versions(epoch)
        batches = batches_of(self.objective.order(tuples, size), size, self.objective)
        setup.model.train()
        freeze_batchnorm_stats(setup.model)  # also that of layers after the trunk: photos are described one by one
        losses = []
        for step, batch in enumerate(setup.progress.over(batches, f"epoch {epoch}")):
            self.parts.set_rates(epoch - first, step + (epoch - first) * len(batches))
            losses.append(self._step(batch))
        return {
            "epoch": epoch,
            "loss": mean_loss(losses, sum(map(len, batches)), setup.device),
            "rate": self.parts.largest_rate,
            **({} if distance is None else {"negative_distance": distance}),
        }

    def _warn_of_margin(self, distance: float) -> None:
        margin = self.objective.margin
        if margin is not None and distance < margin / 2:
            _log.warning(
                "train.tuples.margin: with %g most of the loss pushes images apart, because the mined negatives lie at "
                "a distance of %.2g; about %.1g may train better",
                margin,
                distance,
                1.5 * distance,
            )

    def _draw_versions(self, epoch: int) -> list[Photo]:
        """The photos as they are in the tuples of an epoch: each is itself or one of its augmented versions."""
        photos, seed = self.setup.images.photos, self.setup.seed
        versions = generator(seed, "versions", epoch).integers(self.settings.augmented_versions + 1, size=len(photos))
        mirrored = generator(seed, "mirror", epoch).random(len(photos)) < (0.5 if self.settings.mirror else 0)
        seeds = [
            derive_seed(seed, "augmentation", number, version) if version else None
            for number, version in enumerate(versions.tolist())
        ]
        return [
            replace(photo, augmentation=augmentation, mirrored=mirror)
            for photo, augmentation, mirror in zip(photos, seeds, mirrored.tolist(), strict=True)
        ]

    def _step(self, batch: Ids) -> float:
        """One optimiser step on a batch of tuples; returns the summed loss of this rank's share."""
        self.optimizer.zero_grad()
        total = 0.0
        for loss in self.loss.parts(batch):
            torch.autograd.backward(loss)
            total += loss.item()
        distributed.all_reduce_gradients(self.setup.model.parameters())
        self.optimizer.step()
        return total
