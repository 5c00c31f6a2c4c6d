"""The trainer for tuples."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from lrcr.config.training import TuplesParams
from lrcr.data.dataset import Ids, Photo
from lrcr.errors import DatasetError, LrcrError
from lrcr.runtime import distributed
from lrcr.runtime.seeds import derive_seed, generator
from lrcr.training.objective import Objective
from lrcr.training.optimizer import PartsOptimizer
from lrcr.training.setup import Setup
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
        self.photos = setup.images.photos
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
        tuples = self.objective.order(tuples, size)
        self.photos = self._draw_versions(epoch)
        setup.model.train()
        if self.objective.compares_tuples:
            tuples = _even(tuples, size)
        starts = range(0, len(tuples), size)
        losses = []
        for step, start in enumerate(setup.progress.over(starts, f"epoch {epoch}")):
            self.parts.set_rates(epoch - first, step + (epoch - first) * len(starts))
            losses.append(self._step(tuples[start : start + size]))
        total = torch.tensor(sum(losses), dtype=torch.float64, device=setup.device)
        return {
            "epoch": epoch,
            "loss": float(distributed.all_reduce_sum(total)) / len(tuples),
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

    def _step(self, tuples: Ids) -> float:
        """One optimiser step on a batch of tuples; returns the summed loss of this rank's share.

        If the loss of a tuple does not depend on the others, the rank processes one tuple at a time, which limits the
        memory: BatchNorm is frozen. Otherwise it processes its share at once.
        """
        self.optimizer.zero_grad()
        total = 0.0
        share = tuples[distributed.rank() :: distributed.world_size()]
        for part in [share] if self.objective.compares_tuples else share[:, None]:
            embedded = self._embed(part.ravel())
            loss = self.objective.loss(part, embedded)
            if not torch.isfinite(loss):
                alone = distributed.world_size() == 1 or not self.objective.compares_tuples
                where = self._locate_non_finite(part, embedded) if alone else f"in a step of {len(tuples)} tuples"
                raise LrcrError(f"training: the loss is {loss.item()} {where}; lower train.tuples.learning_rates")
            torch.autograd.backward(loss)
            total += loss.item()
        distributed.all_reduce_gradients(self.setup.model.parameters())
        self.optimizer.step()
        return total

    @torch.no_grad()
    def _locate_non_finite(self, tuples: Ids, embedded: Sequence[Any]) -> str:
        """Name the images of the first tuple whose loss is not finite."""
        width, photos = tuples.shape[1], self.setup.images.photos
        losses = [self.objective.loss(tuples[[i]], embedded[i * width : (i + 1) * width]) for i in range(len(tuples))]
        wrong = np.flatnonzero([not torch.isfinite(loss) for loss in losses])
        query, positive, *negatives = (str(photos[i].path) for i in tuples[wrong[0] if len(wrong) else 0])
        return f"at query {query}, positive {positive}, negatives {', '.join(negatives)}"

    def _embed(self, ids: Ids) -> list[Any]:
        """The input of the loss for each image (`Objective.embed`), with gradient."""
        photos = [self.photos[i] for i in ids]
        batches = self.setup.maps.batches(photos, len(photos), self.settings.scales)
        found = {
            position: embedded
            for positions, maps in batches
            for position, embedded in zip(positions, self.objective.embed(maps), strict=True)
        }
        return [found[position] for position in range(len(photos))]


def _even(tuples: Ids, size: int) -> Ids:
    """The tuples without an incomplete last batch, in which less would be compared; ranks have equal shares of a batch.

    Raises:
        DatasetError: there are fewer tuples than ranks.
    """
    whole = size if len(tuples) >= size else distributed.world_size()
    if len(tuples) < whole:
        raise DatasetError(f"training: {len(tuples)} pairs for {whole} ranks; label more photos, or start fewer ranks")
    return tuples[: len(tuples) // whole * whole]
