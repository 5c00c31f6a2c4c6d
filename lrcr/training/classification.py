"""CFCD's training from labels: a cosine classifier with MadaCos, then hard local negatives (Zhu et al., ICCV 2023)."""

from math import cos, pi

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrcr.config.params import Params
from lrcr.data.dataset import Ids
from lrcr.errors import DatasetError, LrcrError
from lrcr.losses.local_triplet import local_triplet_loss
from lrcr.losses.madacos import MadaCos, cosine_logits, madacos
from lrcr.models.backbone import freeze_batchnorm_stats
from lrcr.models.global_model import GlobalModel
from lrcr.progress import SILENT, Progress
from lrcr.runtime import distributed
from lrcr.runtime.seeds import derive_seed, generator
from lrcr.training.confusion import confused_classes, draw_tuples
from lrcr.training.crops import crop_batches
from lrcr.training.maps import Maps, describe_in_shares
from lrcr.training.tuples import TrainingSet

_MOMENTUM = 0.9
_NEGATIVES = 6  # of a tuple
TUPLE = 2 + _NEGATIVES
"""Images of a tuple of the second phase."""


class ClassifierHead(nn.Module):
    """A global model and the classifier that is kept in training only.

    Args:
        model: of D dimensions.
        classes: how many.
        seed: draws the classifier's weights, of shape (classes, D).
    """

    def __init__(self, model: GlobalModel, classes: int, seed: int) -> None:
        super().__init__()
        self.model = model
        drawn = torch.rand(classes, model.dim, generator=torch.Generator().manual_seed(seed))
        # Their length is of no account to cosines but decides how fast SGD turns them: that of the authors' code.
        drawn = (2 * drawn - 1) / model.dim**0.5
        self.weights = nn.Parameter(drawn.to(next(model.parameters()).device))

    def cosines(self, vectors: Tensor) -> Tensor:
        """Of unit vectors of shape (B, D) to each class: of shape (B, classes)."""
        return vectors @ F.normalize(self.weights, dim=1).T


def labelled(images: TrainingSet) -> tuple[TrainingSet, Ids]:
    """The images whose label is shared by another, and their classes, numbered from 0: of shape (n,).

    Raises:
        DatasetError: fewer than two such labels.
    """
    _, row, sizes = np.unique(images.clusters, return_inverse=True, return_counts=True)
    kept = np.flatnonzero(sizes[row] > 1)
    names, classes = np.unique(images.clusters[kept], return_inverse=True)
    if len(names) < 2:
        raise DatasetError("training: fewer than two labels have two images; label more photos (a labels.csv)")
    chosen = TrainingSet([images.photos[i] for i in kept], images.clusters[kept], np.empty((0, 2), np.int64))
    return chosen, classes.astype(np.int64)


class LabelTrainer:
    """Trains model and classifier by SGD with Nesterov's momentum, epoch by epoch.

    The first phase passes over all images in random order. The second passes over as many images in tuples of anchor,
    positive and six negatives of the classes most confused with the anchor's by the classifier as it is now, and adds
    their local triplets to the loss. There BatchNorm keeps its statistics: tuples of look-alikes are no sample of all.

    Args:
        params: the `train` section and the seed.
        classified: on `device`.
        images: labelled ones.
        classes: of the images, of shape (n,).
        epochs: of this phase.
        maps: where the trunk's maps come from that tell what is confused; None makes it the first phase.
    """

    def __init__(
        self,
        params: Params,
        classified: ClassifierHead,
        images: TrainingSet,
        classes: Ids,
        epochs: int,
        device: torch.device,
        progress: Progress = SILENT,
        *,
        maps: Maps | None = None,
    ) -> None:
        self.params = params
        self.trained = classified
        self.images = images
        self.classes = classes
        self.epochs = epochs
        self.device = device
        self.progress = track
        settings = params.train
        frozen = settings.freeze == "backbone"
        classified.model.backbone.requires_grad_(not frozen)
        self.confused = None if maps is None else self._confuse(maps)
        self.width = 1 if maps is None else TUPLE  # images that stay together
        self.step = max(1, settings.cfcd.batch // self.width) * self.width
        self.rate = settings.cfcd.rate if maps is None else settings.cfcd.fine_rate or settings.cfcd.rate
        self.optimizer = torch.optim.SGD(
            classified.parameters(),
            lr=self.rate,
            momentum=_MOMENTUM,
            nesterov=True,
            weight_decay=settings.weight_decay,
        )

    def _confuse(self, maps: Maps) -> Ids:
        """The classes most confused with each class, of shape (classes, 6)."""
        self.trained.eval()
        vectors = describe_in_shares(self.trained.model, maps, self.images.photos)
        classes = torch.from_numpy(self.classes).to(self.device)
        return confused_classes(vectors, classes, self.trained.weights.detach(), _NEGATIVES)

    def run_epoch(self, epoch: int, first: int = 1) -> dict[str, float]:
        """Take one step a batch, and return what is worth logging: the means of loss, scale and margin.

        Args:
            epoch: from 1, over all phases.
            first: the epoch with which this phase began.
        """
        settings = self.params.train
        rng = generator(self.params.seed, "labels", epoch)
        batches = self._draw(rng)
        seeds = [self._share(rng.integers(2**63, size=len(batch))).tolist() for batch in batches]
        batches = [self._share(batch) for batch in batches]
        photos = [[self.images.photos[i] for i in batch] for batch in batches]
        crops = crop_batches(zip(photos, seeds, strict=True), settings.crop, settings.labels.area)
        self.trained.train()
        if self.confused is not None:
            freeze_batchnorm_stats(self.trained)
        if settings.freeze == "backbone":
            self.trained.model.backbone.eval()
        logged = []
        steps = self.progress.over(zip(batches, crops, strict=True), f"epoch {epoch}", len(batches))
        for step, (batch, images) in enumerate(steps):
            self._set_rate(epoch - first + step / len(batches))
            logged.append(self._step(batch, images))
        loss, scale, margin = (float(value) for value in np.mean(logged, axis=0))
        loss = float(distributed.all_reduce_sum(torch.tensor(loss, dtype=torch.float64, device=self.device)))
        rate = float(self.optimizer.param_groups[0]["lr"])
        return {"epoch": epoch, "loss": loss, "rate": rate, "scale": scale, "margin": margin}

    def _draw(self, rng: np.random.Generator) -> list[Ids]:
        """An epoch's batches of image ids; of the second phase whole tuples, one behind the other.

        Of a last batch that ranks cannot share evenly what is over is left out.
        """
        count, even = len(self.images.photos), self.width * distributed.world_size()
        if self.confused is None:
            drawn = rng.permutation(count)
        else:
            drawn = draw_tuples(self.images, self.classes, self.confused, max(1, count // self.width), rng).ravel()
        batches = [
            batch[: len(batch) // even * even] for batch in np.split(drawn, range(self.step, len(drawn), self.step))
        ]
        if not len(batches[0]):
            raise DatasetError(
                f"training: {count} labelled images are too few for {distributed.world_size()} ranks; start fewer"
            )
        # A last batch of one image has no statistics for BatchNorm.
        return [batch for batch in batches if len(batch) > 1]

    def _share(self, batch: Ids) -> Ids:
        """What this rank takes of a batch: every so many images, or tuples."""
        return np.concatenate(distributed.share(list(batch.reshape(-1, self.width))))

    def _set_rate(self, epochs: float) -> None:
        """Half a cosine over the phase; in the first phase a linear rise comes before."""
        warmup = self.params.train.cfcd.warmup if self.confused is None else 0
        warm = min(1.0, (epochs + 1) / (warmup + 1))
        self.optimizer.param_groups[0]["lr"] = self.rate * warm * 0.5 * (1 + cos(pi * epochs / self.epochs))

    def _step(self, ids: Ids, images: Tensor) -> tuple[float, float, float]:
        """One step of the optimiser on this rank's share of a batch; returns its part of the loss, scale and margin."""
        self.optimizer.zero_grad()
        model = self.trained.model
        features = model.backbone(images.to(self.device, memory_format=torch.channels_last))
        labels = torch.from_numpy(self.classes[ids]).to(self.device)
        head = self._head(self.trained.cosines(model.describe_map(features)), labels)
        loss = F.cross_entropy(head.logits, labels) / distributed.world_size()
        if self.confused is not None:
            loss = loss + self.params.train.cfcd.local * self._local_losses(features).sum()
        if not torch.isfinite(loss):
            each = F.cross_entropy(head.logits, labels, reduction="none")
            raise LrcrError(
                f"training: the loss is {loss} {self._locate_non_finite(ids, each, features)}; lower train.cfcd.rate"
            )
        torch.autograd.backward(loss)
        distributed.all_reduce_gradients(self.trained.parameters())
        self.optimizer.step()
        return loss.item(), float(head.scale), float(head.margin)

    def _head(self, cosines: Tensor, labels: Tensor) -> MadaCos:
        settings = self.params.train.cfcd
        if settings.head == "madacos":
            return madacos(cosines, labels, settings.alpha)
        scale, margin = cosines.new_tensor(settings.scale), cosines.new_tensor(settings.margin)
        median = cosines.gather(1, labels[:, None]).median()
        return MadaCos(cosine_logits(cosines, labels, scale, margin), scale, margin, median)

    @torch.no_grad()
    def _locate_non_finite(self, ids: Ids, losses: Tensor, features: Tensor) -> str:
        """Name the first image, in the second phase with its tuple, whose features or whose own loss is not finite.

        Features count first: MadaCos's median spreads what is wrong with one image to the losses of all.
        """
        wrong = ~features.isfinite().flatten(1).all(dim=1)
        if not wrong.any():
            wrong = ~losses.isfinite()
        if not wrong.any():
            wrong = (~self._local_losses(features).isfinite()).repeat_interleave(self.width)
        first = int(wrong.int().argmax()) // self.width * self.width
        names = [str(self.images.photos[i].path) for i in ids[first : first + self.width]]
        return f"at {'image' if self.confused is None else 'tuple'} {', '.join(names)}"

    def _local_losses(self, features: Tensor) -> Tensor:
        """The local triplets of each tuple, of shape (T,), of the trunk's features of shape (T · 8, C, H, W)."""
        descriptors = features.flatten(2).mT
        attention = features.abs().sum(dim=1).flatten(1)
        tuples = zip(*(torch.split(each, self.width) for each in (descriptors, attention)), strict=True)
        return torch.stack([local_triplet_loss(local, strength) for local, strength in tuples])


def seed_of_classifier(params: Params) -> int:
    """The seed of the classifier's weights, as torch takes it."""
    return derive_seed(params.seed, "classifier") % 2**63
