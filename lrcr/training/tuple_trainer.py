"""Trainer of training over tuples: mine them, step through them."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrcr.config.params import Params
from lrcr.data.dataset import Ids, Photo
from lrcr.data.loading import load_batches
from lrcr.errors import LrcrError
from lrcr.models.descriptors import resize, scales_that_fit
from lrcr.models.factory import Model
from lrcr.models.local import LocalModel
from lrcr.progress import SILENT, Progress
from lrcr.runtime import distributed
from lrcr.runtime.seeds import generator
from lrcr.training.global_objective import GlobalObjective
from lrcr.training.local_objective import LocalObjective
from lrcr.training.maps import Maps, describe_in_shares
from lrcr.training.optimizer import Parts
from lrcr.training.tuples import TrainingSet, mine_negatives
from lrcr.training.whitening import learn_whitening


class Objective(Protocol):
    """What tuples are trained for."""

    def on_epoch_start(self, pool: Sequence[Photo], epoch: int) -> None:
        """Get ready for an epoch whose negatives come from these photos."""
        ...

    def embed(self, maps: Sequence[Tensor]) -> list[Any]:
        """What the loss needs of each of B images, from the trunk's features of shape (B, C, H, W) at each scale."""
        ...

    def loss(self, tuples: Ids, seen: Sequence[Any]) -> Tensor:
        """The summed loss over tuples of shape (T, 2 + N), given what is seen of each of their images, in order."""
        ...


def from_nothing(params: Params) -> bool:
    """Whether the trunk starts from nothing, without a given whitening."""
    return params.backbone.weights == "none" and params.whitening.file is None


class TupleTrainer:
    """Trains some parts of a model, epoch by epoch.

    Args:
        params: the `train` section, the smoothing's penalty and the seed.
        model: on `device`.
        images: what to draw tuples from.
        maps: where the trunk's maps come from; a frozen trunk's are not computed again.
        parts: of the model that are trained, as far as their rates are above zero; None takes all.
    """

    def __init__(
        self,
        params: Params,
        model: Model,
        images: TrainingSet,
        maps: Maps,
        device: torch.device,
        progress: Progress = SILENT,
        *,
        parts: Sequence[str] | None = None,
    ) -> None:
        self.params = params
        self.model = model
        self.images = images
        self.maps = maps
        self.device = device
        self.progress = track
        # A trunk that starts from nothing soon outgrows a whitening of its random features.
        self.refits = isinstance(model, LocalModel) and from_nothing(params)
        self.frozen = params.train.freeze == "backbone"
        self.objective: Objective = (
            LocalObjective(params, model, maps) if isinstance(model, LocalModel) else GlobalObjective(params, model)
        )
        self.parts = Parts(params.train, model, parts)

    @property
    def trained(self) -> nn.Module:
        """What a checkpoint holds."""
        return self.model

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Adam over the parts."""
        return self.parts.optimizer

    def run_epoch(self, epoch: int, first: int = 1) -> dict[str, float]:
        """Mine this epoch's tuples, take one step a batch of them, and return what is worth logging.

        A trunk that started from nothing has its whitening learned again at the end.

        Args:
            epoch: from 1, over all phases.
            first: the epoch with which this phase began: there decay and warm-up start.
        """
        settings = self.params.train
        tuples, distance = self.draw_tuples(epoch)
        self.model.train()
        if self.frozen:
            self.model.backbone.eval()  # its BatchNorm as well: a stored map must not depend on when it is computed
        starts = range(0, len(tuples), settings.batch)
        losses = []
        for step, start in enumerate(self.progress.over(starts, f"epoch {epoch}", len(starts))):
            self.parts.set_rates(epoch - first, step + (epoch - first) * len(starts))
            losses.append(self._step(tuples[start : start + settings.batch]))
        if self.refits:
            learn_whitening(self.model, self.maps, self.images.photos, self.params, self.progress)
        return {
            "epoch": epoch,
            "loss": float(
                distributed.all_reduce_sum(torch.tensor(sum(losses), dtype=torch.float64, device=self.device))
            )
            / len(tuples),
            "rate": self.parts.largest_rate,
            "negative_distance": distance,
        }

    def draw_tuples(self, epoch: int) -> tuple[Ids, float]:
        """An epoch's tuples, and the mean distance of its queries to their negatives; learns its words if need be.

        Returns:
            Image ids of shape (T, 2 + N): query, positive, negatives.
        """
        settings = self.params.train
        rng = generator(self.params.seed, "tuples", epoch)
        pairs = self.images.draw_pairs(settings.queries, rng)
        pool = np.sort(rng.permutation(len(self.images.photos))[: settings.pool])
        vectors = self._describe(np.concatenate([pairs[:, 0], pool]), epoch)
        queries, candidates = vectors[: len(pairs)], vectors[len(pairs) :]
        similarity = queries @ candidates.T
        negatives = mine_negatives(
            similarity.cpu().numpy(), pairs[:, 0], pool, self.images.clusters, settings.negatives
        )
        self.objective.on_epoch_start([self.images.photos[i] for i in pool], epoch)
        chosen = torch.from_numpy(np.searchsorted(pool, negatives)).to(self.device)
        distance = (2 - 2 * similarity.gather(1, chosen)).clamp_min(0).sqrt().mean()
        return np.concatenate([pairs, negatives], axis=1), float(distance)

    def _describe(self, ids: Ids, epoch: int) -> Tensor:
        self.model.eval()
        unique, inverse = np.unique(ids, return_inverse=True)
        photos = [self.images.photos[i] for i in unique]
        with self.progress.task(f"mine negatives of epoch {epoch}", len(distributed.share(photos))) as task:
            vectors = describe_in_shares(self.model, self.maps, photos, tick)
        return vectors[torch.from_numpy(inverse).to(self.device)]

    def _step(self, tuples: Ids) -> float:
        """One step of the optimiser over a batch of tuples; returns the summed loss of this rank's share.

        With frozen BatchNorm tuples are independent: each rank takes every so many of them, and they pass one at a
        time, which bounds the memory. BatchNorm that is trained needs all images of the batch for its statistics.
        """
        self.optimizer.zero_grad()
        independent = self.frozen or self.model.freeze_batchnorm
        total = 0.0
        for part in distributed.share(np.split(tuples, len(tuples))) if independent else [tuples]:
            seen = self._embed(part.ravel())
            loss = self.objective.loss(part, seen)
            if not torch.isfinite(loss):
                raise LrcrError(
                    f"training: the loss is {loss.item()} {self._locate_non_finite(part, seen)}; lower train.rates"
                )
            torch.autograd.backward(loss)
            total += loss.item()
        distributed.all_reduce_gradients(self.model.parameters())
        self.optimizer.step()
        return total

    @torch.no_grad()
    def _locate_non_finite(self, tuples: Ids, seen: Sequence[Any]) -> str:
        """Name the images of the first tuple whose own loss is not finite."""
        width = tuples.shape[1]
        losses = [self.objective.loss(tuples[[i]], seen[i * width : (i + 1) * width]) for i in range(len(tuples))]
        wrong = np.flatnonzero([not torch.isfinite(loss) for loss in losses])
        query, positive, *negatives = (str(self.images.photos[i].path) for i in tuples[wrong[0] if len(wrong) else 0])
        return f"at query {query}, positive {positive}, negatives {', '.join(negatives)}"

    def _embed(self, ids: Ids) -> list[Any]:
        """What the loss needs of each image, with gradient.

        BatchNorm that is trained needs statistics of all images at once, so there they are brought to one square
        shape; the changed aspect is no more than what a change of viewpoint does.
        """
        photos = [self.images.photos[i] for i in ids]
        if self.frozen or self.model.freeze_batchnorm:
            batches = self.maps.batches(photos, len(photos), self.params.train.scales)
        else:
            batches = iter([self._square_maps(photos)])
        found = {
            position: seen
            for positions, maps in batches
            for position, seen in zip(positions, self.objective.embed(maps), strict=True)
        }
        return [found[position] for position in range(len(photos))]

    def _square_maps(self, photos: Sequence[Photo]) -> tuple[list[int], list[Tensor]]:
        size = self.params.train.image_size
        batches = list(load_batches(photos, size, len(photos)))
        images = [F.interpolate(batch.images.to(self.device), (size, size), mode="bilinear") for batch in batches]
        square = torch.cat(images).contiguous(memory_format=torch.channels_last)
        maps = [
            self.model.backbone(resize(square, scale)) for scale in scales_that_fit(square, self.params.train.scales)
        ]
        return [position for batch in batches for position in batch.positions], maps
