"""AP-GeM's training: the listwise loss on batches that do not fit into memory (Revaud et al., ICCV 2019)."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lrcr.config.labels import ListwiseParams
from lrcr.data.dataset import Ids
from lrcr.errors import DatasetError, LrcrError
from lrcr.losses.listwise import backward_in_two_passes, listwise_loss
from lrcr.models.backbone import freeze_batchnorm_stats
from lrcr.runtime import distributed
from lrcr.runtime.seeds import generator
from lrcr.training.crops import crop_batches
from lrcr.training.optimizer import PartsOptimizer
from lrcr.training.setup import Setup
from lrcr.training.tuples import labelled_images


class ListwiseTrainer:
    """Trains a global model on batches in which each image is a query for the other images of its label.

    See `lrcr.training.phases.Trainer`.

    Args:
        setup: images that are alone with their label are not used.
        settings: batches, crops, bins; learning rates of the parts.

    Raises:
        DatasetError: fewer than two labels have two images.
    """

    def __init__(self, setup: Setup, settings: ListwiseParams) -> None:
        self.setup = setup
        self.settings = settings
        self.crop_size = settings.crop_size or setup.image_size
        self.images, self.classes = labelled_images(setup.images)
        self.parts = PartsOptimizer(settings, setup.model, weight_decay=setup.weight_decay)

    @property
    def trained(self) -> nn.Module:
        """The module whose weights a checkpoint stores."""
        return self.setup.model

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Adam over the parts."""
        return self.parts.adam

    def run_epoch(self, epoch: int, first: int = 1) -> dict[str, float]:
        """Take one step for each batch; returns the values for the log.

        Args:
            epoch: from 1, counted over all phases.
            first: the first epoch of this phase, in which decay and warm-up start.
        """
        setup = self.setup
        rng = generator(setup.seed, "batches", epoch)
        batches = self._draw(rng)
        setup.model.train()
        freeze_batchnorm_stats(setup.model)  # also that of layers after the trunk: a chunk may be a single image
        losses = []
        for step, batch in enumerate(setup.progress.over(batches, f"epoch {epoch}")):
            self.parts.set_rates(epoch - first, step + (epoch - first) * len(batches))
            losses.append(self._step(batch, rng.integers(2**63, size=len(batch))))
        return {"epoch": epoch, "loss": sum(losses) / len(losses), "rate": self.parts.largest_rate}

    def _draw(self, rng: np.random.Generator) -> list[Ids]:
        """The batches of image ids of an epoch: classes in random order, each class in one batch if possible.

        The images of a batch are shuffled. BatchNorm, if it is trained, computes its statistics over a chunk of a
        batch; those of a chunk of few classes would reveal the classes to the network.
        """
        class_order = rng.permutation(self.classes.max() + 1)[self.classes]
        order = np.lexsort((rng.permutation(len(class_order)), class_order))
        size = self.settings.batch_size
        least = max(2, distributed.world_size())  # smallest number of images in a batch
        parts = np.split(order, range(size, len(order), size))
        batches = [rng.permutation(batch) for batch in parts if len(batch) >= least]
        if not batches:
            raise DatasetError(f"training: {min(size, len(order))} images a batch are too few; there must be {least}")
        return batches

    def _step(self, ids: Ids, seeds: Ids) -> float:
        """One optimiser step on a batch; its images are decoded and cropped chunk by chunk, in each of two passes."""
        setup, settings = self.setup, self.settings
        self.optimizer.zero_grad()

        def describe(rows: Tensor) -> Tensor:
            photos = [self.images.photos[i] for i in ids[rows.numpy()]]
            batch = (photos, seeds[rows.numpy()].tolist())
            [images] = crop_batches([batch], self.crop_size, settings.min_crop_area)
            vectors: Tensor = setup.model(images.to(setup.device, memory_format=torch.channels_last))
            return vectors

        def loss_of(vectors: Tensor) -> Tensor:
            classes = torch.from_numpy(self.classes[ids]).to(setup.device)
            same_image = torch.eye(len(ids), dtype=torch.bool, device=setup.device)
            similarity = (vectors @ vectors.T).masked_fill(same_image, -torch.inf)
            return listwise_loss(similarity, classes[:, None] == classes, settings.bins)

        number = max(-(-len(ids) // settings.chunk_size), distributed.world_size())
        chunks = torch.tensor_split(torch.arange(len(ids)), number)
        loss = float(backward_in_two_passes(describe, chunks, loss_of))
        if not np.isfinite(loss):
            where = self._locate_non_finite(ids, describe, chunks)
            raise LrcrError(f"training: the loss is {loss} {where}; lower train.listwise.learning_rates")
        distributed.all_reduce_gradients(setup.model.parameters())
        self.optimizer.step()
        return loss

    @torch.no_grad()
    def _locate_non_finite(self, ids: Ids, describe: Callable[[Tensor], Tensor], chunks: Sequence[Tensor]) -> str:
        """Name the first image of the batch whose vector is not finite."""
        finite = torch.cat([describe(chunk).isfinite().all(dim=1) for chunk in chunks])
        wrong = int((~finite).int().argmax())
        return f"at image {self.images.photos[ids[wrong]].path}, of a batch of {len(ids)}"
