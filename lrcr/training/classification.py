"""Training on labels by a classifier; in CFCD's second phase also by hard local negatives (Zhu et al., ICCV 2023)."""

from math import cos, pi

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrcr.config.labels import ClassificationParams
from lrcr.data.dataset import Ids
from lrcr.errors import DatasetError, LrcrError
from lrcr.losses.local_triplet import local_triplet_loss
from lrcr.models.backbone import freeze_batchnorm_stats
from lrcr.runtime import distributed
from lrcr.runtime.seeds import generator
from lrcr.training.classifier import ClassifierHead
from lrcr.training.confusion import draw_tuples, predict_classes
from lrcr.training.crops import crop_batches
from lrcr.training.descriptors import describe_distributed
from lrcr.training.setup import Setup
from lrcr.training.tuples import TrainingSet

_MOMENTUM = 0.9
_NEGATIVES = 6  # of a tuple
TUPLE = 2 + _NEGATIVES
"""Number of images of a tuple in the second phase."""


class ClassificationTrainer:
    """Trains model and classifier by SGD with Nesterov momentum; see `lrcr.training.phases.Trainer`.

    An epoch of the first phase uses all images in random order. An epoch of the second phase uses about the same number
    of images, in tuples of an anchor, a positive and six negatives; the loss then also has local triplets. Many of the
    negatives are images that the classifier, as it is at the start of the epoch, confuses with the anchor's class
    (`lrcr.training.confusion`). If the BatchNorm of the trunk is frozen, all BatchNorm is in the second phase.

    Args:
        trained: the model with its classifier, on the device of `setup`.
        images: the labelled images, n of them.
        classes: of the images, of shape (n,).
        epochs: number of epochs of this phase.
        fine: whether this is the second phase of CFCD.
        attends: whether this is the second phase of DELF: the first with the rate and the crops of a second one.
        key: of the settings in the params, for messages.
    """

    def __init__(
        self,
        setup: Setup,
        settings: ClassificationParams,
        trained: ClassifierHead,
        images: TrainingSet,
        classes: Ids,
        epochs: int,
        *,
        fine: bool = False,
        attends: bool = False,
        key: str = "train.classification",
    ) -> None:
        self.setup = setup
        self.settings = settings
        self.key = key
        self.trained = trained
        self.images = images
        self.classes = classes
        self.epochs = epochs
        second = fine or attends
        self.crop_size = (settings.fine_crop_size if second else None) or settings.crop_size or setup.image_size
        self.fine = fine
        self.width = TUPLE if fine else 1  # images of a tuple, or a single image
        self.step = max(1, settings.batch_size // self.width) * self.width
        self.rate = (settings.fine_learning_rate if second else None) or settings.learning_rate
        self.optimizer = torch.optim.SGD(
            trained.parameters(), lr=self.rate, momentum=_MOMENTUM, nesterov=True, weight_decay=setup.weight_decay
        )

    def _predict(self) -> Ids:
        """The class that the classifier predicts for each image, of shape (n,)."""
        self.trained.eval()
        vectors = describe_distributed(self.setup.model, self.setup.maps, self.images.photos)
        return predict_classes(vectors, self.trained.weights.detach())

    def run_epoch(self, epoch: int, first: int = 1) -> dict[str, float]:
        """Take one step for each batch; returns the values for the log: the means of loss, scale and margin.

        Args:
            epoch: from 1, counted over all phases.
            first: the first epoch of this phase.
        """
        setup = self.setup
        rng = generator(setup.seed, "labels", epoch)
        batches = self._draw(rng)
        seeds = [self._share(rng.integers(2**63, size=len(batch))).tolist() for batch in batches]
        batches = [self._share(batch) for batch in batches]
        photos = [[self.images.photos[i] for i in batch] for batch in batches]
        crop = (self.crop_size, self.settings.min_crop_area, self.settings.colour_noise)
        crops = crop_batches(zip(photos, seeds, strict=True), *crop)
        self.trained.train()
        if self.fine and setup.model.freeze_batchnorm:
            freeze_batchnorm_stats(self.trained)
        logged = []
        steps = setup.progress.over(zip(batches, crops, strict=True), f"epoch {epoch}", len(batches))
        for step, (batch, images) in enumerate(steps):
            self._set_rate(epoch - first + step / len(batches))
            logged.append(self._step(batch, images))
        loss, scale, margin = (float(value) for value in np.mean(logged, axis=0))
        loss = float(distributed.all_reduce_sum(torch.tensor(loss, dtype=torch.float64, device=setup.device)))
        rate = float(self.optimizer.param_groups[0]["lr"])
        return {"epoch": epoch, "loss": loss, "rate": rate, "scale": scale, "margin": margin}

    def _draw(self, rng: np.random.Generator) -> list[Ids]:
        """The batches of image ids of an epoch; in the second phase of whole tuples, one after the other.

        The last batch is shortened so that the ranks can share it evenly.
        """
        count, even = len(self.images.photos), self.width * distributed.world_size()
        if self.fine:
            tuples = max(1, count // self.width)
            drawn = draw_tuples(self.images, self.classes, self._predict(), tuples, _NEGATIVES, rng).ravel()
        else:
            drawn = rng.permutation(count)
        batches = [
            batch[: len(batch) // even * even] for batch in np.split(drawn, range(self.step, len(drawn), self.step))
        ]
        if not len(batches[0]):
            ranks = distributed.world_size()
            raise DatasetError(f"training: {count} labelled images are too few for {ranks} ranks; start fewer")
        # BatchNorm cannot compute statistics of a last batch of one image.
        return [batch for batch in batches if len(batch) > 1]

    def _share(self, batch: Ids) -> Ids:
        """The images of a batch that this rank processes, in whole tuples."""
        return np.concatenate(distributed.share(list(batch.reshape(-1, self.width))))

    def _set_rate(self, epochs: float) -> None:
        """Cosine decay over the phase; in the first phase with a linear warm-up."""
        warmup = 0 if self.fine else self.settings.warmup_epochs
        warm = min(1.0, (epochs + 1) / (warmup + 1))
        self.optimizer.param_groups[0]["lr"] = self.rate * warm * 0.5 * (1 + cos(pi * epochs / self.epochs))

    def _step(self, ids: Ids, images: Tensor) -> tuple[float, float, float]:
        """One optimiser step on this rank's share of a batch; returns its part of the loss, scale and margin."""
        self.optimizer.zero_grad()
        model, device = self.setup.model, self.setup.device
        features = model.backbone(images.to(device, memory_format=torch.channels_last))
        labels = torch.from_numpy(self.classes[ids]).to(device)
        head = self.trained.classify(model.embed(features), labels)
        loss = F.cross_entropy(head.logits, labels) / distributed.world_size()
        beside = self.trained.local_losses(features, labels)
        if beside is not None:
            loss = loss + beside.mean() / distributed.world_size()
        if self.fine:
            loss = loss + self.settings.local * self._local_losses(features).sum()
        if not torch.isfinite(loss):
            losses = F.cross_entropy(head.logits, labels, reduction="none") + (0 if beside is None else beside)
            where = self._locate_non_finite(ids, losses, features)
            raise LrcrError(f"training: the loss is {loss} {where}; lower {self.key}.learning_rate")
        torch.autograd.backward(loss)
        distributed.all_reduce_gradients(self.trained.parameters())
        if self.settings.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.trained.parameters(), self.settings.clip_norm)
        self.optimizer.step()
        return loss.item(), float(head.scale), float(head.margin)

    @torch.no_grad()
    def _locate_non_finite(self, ids: Ids, losses: Tensor, features: Tensor) -> str:
        """Name the first image whose features or whose loss is not finite; in the second phase, name its whole tuple.

        The features are checked first: through the median of MadaCos, a single value that is not finite makes the
        losses of all images not finite.
        """
        wrong = ~features.isfinite().flatten(1).all(dim=1)
        if not wrong.any():
            wrong = ~losses.isfinite()
        if not wrong.any():
            wrong = (~self._local_losses(features).isfinite()).repeat_interleave(self.width)
        first = int(wrong.int().argmax()) // self.width * self.width
        names = [str(self.images.photos[i].path) for i in ids[first : first + self.width]]
        return f"at {'tuple' if self.fine else 'image'} {', '.join(names)}"

    def _local_losses(self, features: Tensor) -> Tensor:
        """The local triplet loss of each of T tuples: the backbone's features of shape (T · 8, C, H, W) → (T,)."""
        descriptors = features.flatten(2).mT
        attention = features.abs().sum(dim=1).flatten(1)
        tuples = zip(*(torch.split(values, self.width) for values in (descriptors, attention)), strict=True)
        return torch.stack([local_triplet_loss(local, strength) for local, strength in tuples])
