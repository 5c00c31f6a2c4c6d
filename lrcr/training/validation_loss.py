"""The loss of validation photos: whether a training minimises its loss only on the photos that it trains on."""

from dataclasses import replace

import torch

from lrcr.config.params import Params
from lrcr.data.dataset import Dataset
from lrcr.errors import DatasetError
from lrcr.progress import SILENT
from lrcr.training.objective import make_objective
from lrcr.training.setup import Setup
from lrcr.training.tuple_loss import TupleLoss, batches_of, mean_loss
from lrcr.training.tuple_sampler import TupleSampler
from lrcr.training.tuples import require_tuples, training_set


class ValidationLoss:
    """The loss of pairs of labelled validation photos: the same pairs and batches in all epochs.

    Negatives and visual words are those of the current model, from the validation photos.

    Args:
        params: of the training; `train.tuples.validation_pairs` is the number of pairs.

    Raises:
        DatasetError: too few validation photos have labels.
    """

    def __init__(self, params: Params, setup: Setup, validation: Dataset) -> None:
        self.setup = replace(setup, images=training_set(validation), progress=SILENT)
        settings = params.train.tuples
        self.settings = settings.model_copy(update={"queries_per_epoch": params.train.tuples.validation_pairs})
        try:
            require_tuples(self.setup.images, settings.negatives)
        except DatasetError as error:
            raise DatasetError(f"{validation.name}: {error}; or set train.tuples.validation_pairs to 0") from None
        self.sampler = TupleSampler(self.setup, self.settings)
        self.objective = make_objective(params, self.setup)
        self.loss = TupleLoss(self.objective, setup.maps, settings.scales, self.setup.images.photos)

    @torch.no_grad()
    def __call__(self) -> float:
        """The mean loss of a pair with the current model; a collective."""
        tuples, pool, _ = self.sampler.draw(0)
        self.objective.on_epoch_start(pool, 0)
        self.setup.model.eval()
        batches = batches_of(tuples, self.settings.batch_size, self.objective)
        losses = [part.item() for batch in batches for part in self.loss.parts(batch)]
        return mean_loss(losses, sum(map(len, batches)), self.setup.device)
