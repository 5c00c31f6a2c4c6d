"""The loss of a batch of tuples, from the photos to a scalar."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lrcr.config.base import Scales
from lrcr.data.dataset import Ids, Photo
from lrcr.errors import DatasetError, LrcrError
from lrcr.runtime import distributed
from lrcr.training.maps import Maps
from lrcr.training.objective import Objective


class TupleLoss:
    """The loss of batches of tuples by an objective, with gradient unless that is off.

    Args:
        maps: the source of the backbone's maps.
        scales: at which images are described.
        photos: of the images that tuples name; they may change between batches.
    """

    def __init__(self, objective: Objective, maps: Maps, scales: Scales, photos: Sequence[Photo]) -> None:
        self.objective, self.maps, self.scales, self.photos = objective, maps, scales, photos

    def parts(self, tuples: Ids) -> Iterator[Tensor]:
        """The summed loss of each part of this rank's share of a batch of tuples, of shape (T, 2 + N).

        If the loss of a tuple does not depend on the others, each is a part, which limits the memory: BatchNorm is
        frozen. Otherwise the share is one part.

        Raises:
            LrcrError: a loss is not finite.
        """
        share = tuples[distributed.rank() :: distributed.world_size()]
        for part in [share] if self.objective.compares_tuples else share[:, None]:
            embedded = self.embed(part.ravel())
            loss = self.objective.loss(part, embedded)
            if not torch.isfinite(loss):
                alone = distributed.world_size() == 1 or not self.objective.compares_tuples
                where = self._locate_non_finite(part, embedded) if alone else f"in a step of {len(tuples)} tuples"
                raise LrcrError(f"training: the loss is {loss.item()} {where}; lower train.tuples.learning_rates")
            yield loss

    def embed(self, ids: Ids) -> list[Any]:
        """The input of the loss for each image (`Objective.embed`)."""
        photos = [self.photos[i] for i in ids]
        batches = self.maps.batches(photos, len(photos), self.scales)
        found = {
            position: embedded
            for positions, maps in batches
            for position, embedded in zip(positions, self.objective.embed(maps), strict=True)
        }
        return [found[position] for position in range(len(photos))]

    @torch.no_grad()
    def _locate_non_finite(self, tuples: Ids, embedded: Sequence[Any]) -> str:
        """Name the images of the first tuple whose loss is not finite."""
        width = tuples.shape[1]
        losses = [self.objective.loss(tuples[[i]], embedded[i * width : (i + 1) * width]) for i in range(len(tuples))]
        wrong = np.flatnonzero([not torch.isfinite(loss) for loss in losses])
        query, positive, *negatives = (str(self.photos[i].path) for i in tuples[wrong[0] if len(wrong) else 0])
        return f"at query {query}, positive {positive}, negatives {', '.join(negatives)}"


def batches_of(tuples: Ids, size: int, objective: Objective) -> list[Ids]:
    """Divide tuples into batches of `size`.

    If the tuples of a batch are compared, an incomplete last batch, in which less would be compared, is left out, and
    ranks have equal shares of a batch.

    Raises:
        DatasetError: there are fewer tuples than ranks.
    """
    if objective.compares_tuples:
        whole = size if len(tuples) >= size else distributed.world_size()
        if len(tuples) < whole:
            raise DatasetError(
                f"training: {len(tuples)} pairs for {whole} ranks; label more photos, or start fewer ranks"
            )
        tuples = tuples[: len(tuples) // whole * whole]
    return [tuples[start : start + size] for start in range(0, len(tuples), size)]


def mean_loss(losses: Sequence[float], tuples: int, device: torch.device) -> float:
    """The mean loss of tuples, from the summed losses of this rank's parts; a collective."""
    total = torch.tensor(sum(losses), dtype=torch.float64, device=device)
    return float(distributed.all_reduce_sum(total)) / tuples
