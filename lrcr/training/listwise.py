"""AP-GeM's training: the listwise loss on batches larger than memory (Revaud et al., ICCV 2019)."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lrcr.config.params import Params
from lrcr.data.dataset import Ids
from lrcr.errors import DatasetError, LrcrError
from lrcr.losses.listwise import backward_in_two_passes, listwise_loss
from lrcr.models.global_model import GlobalModel
from lrcr.progress import SILENT, Progress
from lrcr.runtime import distributed
from lrcr.runtime.seeds import generator
from lrcr.training.classification import labelled
from lrcr.training.crops import crop_batches
from lrcr.training.optimizer import Parts
from lrcr.training.tuples import TrainingSet


class ListwiseTrainer:
    """Trains a global model on batches in which each image asks for the others of its label, epoch by epoch.

    Args:
        params: the `train` section and the seed.
        model: on `device`.
        images: those of shared labels are used.

    Raises:
        DatasetError: fewer than two labels have two images.
    """

    def __init__(
        self, params: Params, model: GlobalModel, images: TrainingSet, device: torch.device, progress: Progress = SILENT
    ) -> None:
        self.params = params
        self.model = model
        self.images, self.classes = labelled(images)
        self.device = device
        self.progress = track
        self.parts = Parts(params.train, model)

    @property
    def trained(self) -> nn.Module:
        """What a checkpoint holds."""
        return self.model

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Adam over the parts."""
        return self.parts.optimizer

    def run_epoch(self, epoch: int, first: int = 1) -> dict[str, float]:
        """Take one step a batch, and return what is worth logging.

        Args:
            epoch: from 1, over all phases.
            first: the epoch with which this phase began: there decay and warm-up start.
        """
        rng = generator(self.params.seed, "batches", epoch)
        batches = self._draw(rng)
        self.model.train()
        if self.params.train.freeze == "backbone":
            self.model.backbone.eval()
        losses = []
        for step, batch in enumerate(self.progress.over(batches, f"epoch {epoch}", len(batches))):
            self.parts.set_rates(epoch - first, step + (epoch - first) * len(batches))
            losses.append(self._step(batch, rng.integers(2**63, size=len(batch))))
        return {"epoch": epoch, "loss": sum(losses) / len(losses), "rate": self.parts.largest_rate}

    def _draw(self, rng: np.random.Generator) -> list[Ids]:
        """An epoch's batches of image ids: classes in random order, the images of each in one batch as far as can be.

        Within it they are mixed: BatchNorm that is trained sees chunks, and would mark those of a few classes.
        """
        place = rng.permutation(self.classes.max() + 1)[self.classes]
        order = np.lexsort((rng.permutation(len(place)), place))
        size = self.params.train.apgem.batch
        least = max(2, distributed.world_size())  # images of a batch
        parts = np.split(order, range(size, len(order), size))
        batches = [rng.permutation(batch) for batch in parts if len(batch) >= least]
        if not batches:
            raise DatasetError(f"training: {min(size, len(order))} images a batch are too few; there must be {least}")
        return batches

    def _step(self, ids: Ids, seeds: Ids) -> float:
        """One step of the optimiser over a batch, whose images are decoded and cropped chunk by chunk, twice."""
        settings = self.params.train
        self.optimizer.zero_grad()

        def describe(rows: Tensor) -> Tensor:
            photos = [self.images.photos[i] for i in ids[rows.numpy()]]
            given = (photos, seeds[rows.numpy()].tolist())
            [images] = crop_batches([given], settings.crop, settings.labels.area)
            vectors: Tensor = self.model(images.to(self.device, memory_format=torch.channels_last))
            return vectors

        def loss_of(vectors: Tensor) -> Tensor:
            classes = torch.from_numpy(self.classes[ids]).to(self.device)
            itself = torch.eye(len(ids), dtype=torch.bool, device=self.device)
            similarity = (vectors @ vectors.T).masked_fill(itself, -torch.inf)
            return listwise_loss(similarity, classes[:, None] == classes, settings.apgem.bins)

        number = max(-(-len(ids) // settings.apgem.chunk), distributed.world_size())
        chunks = torch.tensor_split(torch.arange(len(ids)), number)
        loss = float(backward_in_two_passes(describe, chunks, loss_of))
        if not np.isfinite(loss):
            raise LrcrError(
                f"training: the loss is {loss} {self._locate_non_finite(ids, describe, chunks)}; lower train.rates"
            )
        distributed.all_reduce_gradients(self.model.parameters())
        self.optimizer.step()
        return loss

    @torch.no_grad()
    def _locate_non_finite(self, ids: Ids, describe: Callable[[Tensor], Tensor], chunks: Sequence[Tensor]) -> str:
        """Name the first image of the batch whose vector is not finite."""
        finite = torch.cat([describe(chunk).isfinite().all(dim=1) for chunk in chunks])
        wrong = int((~finite).int().argmax())
        return f"at image {self.images.photos[ids[wrong]].path}, of a batch of {len(ids)}"
