"""Epochs of contrastive training: mine tuples, step through them."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lrcr.asmk import learn_codebook
from lrcr.datasets.dataset import Ids, Photo
from lrcr.device import derive_seed, generator
from lrcr.errors import LrcrError
from lrcr.loading import load_batches
from lrcr.losses.asmk import asmk_loss
from lrcr.losses.contrastive import contrastive_loss
from lrcr.losses.matches import match_loss
from lrcr.models.local import Context, LocalModel
from lrcr.models.smoothing import LearnableSmoothing
from lrcr.params import Params
from lrcr.progress import Track, silent, ticking
from lrcr.training.maps import Maps, describe_globally
from lrcr.training.tuples import TrainingSet, mine_negatives
from lrcr.training.whitening import learn_whitening

_ITERATIONS = 10  # of k-means: these words serve one epoch

PARTS = ("backbone", "smoothing", "graph", "whitening")
"""The parts of a local model that may be trained."""


class Trainer:
    """Trains some parts of a model, epoch by epoch.

    Args:
        params: the `train` section, the smoothing's penalty and the seed.
        model: on `device`.
        images: what to draw tuples from.
        maps: where the trunk's maps come from; a frozen trunk's are not computed again.
        parts: of the model that are trained, as far as their rates are above zero; the others stay.
    """

    def __init__(
        self,
        params: Params,
        model: LocalModel,
        images: TrainingSet,
        maps: Maps,
        device: torch.device,
        track: Track = silent,
        *,
        parts: Sequence[str] = PARTS,
    ) -> None:
        self.params = params
        self.model = model
        self.images = images
        self.maps = maps
        self.device = device
        self.track = track
        # A trunk that starts from nothing soon outgrows a whitening of its random features.
        self.refits = params.backbone.weights == "none" and params.whitening.file is None
        self.frozen = params.train.freeze == "backbone"
        self.words: Tensor | None = None
        self.rates = self._rates(parts)
        for part in PARTS:
            getattr(model, part).requires_grad_(self.rates[part] > 0)
        groups = [{"params": [*getattr(model, part).parameters()], "lr": self.rates[part]} for part in PARTS]
        self.optimizer = torch.optim.Adam(groups, weight_decay=params.train.weight_decay)

    def _rates(self, parts: Sequence[str]) -> dict[str, float]:
        """Each part's learning rate; zero where it is not trained."""
        rates = self.params.train.rates
        own = {
            "backbone": 0.0 if self.frozen else rates.backbone,
            "smoothing": rates.context,
            "graph": rates.context,
            "whitening": rates.whitening,
        }
        return {part: own[part] if part in parts else 0.0 for part in PARTS}

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
        for step, start in enumerate(self.track(starts, f"epoch {epoch}", len(starts))):
            self._set_rates(epoch - first, step + (epoch - first) * len(starts))
            losses.append(self._step(tuples[start : start + settings.batch]))
        if self.refits:
            learn_whitening(self.model, self.maps, self.images.photos, self.params, self.track)
        return {
            "epoch": epoch,
            "loss": sum(losses) / len(tuples),
            "rate": max(group["lr"] for group in self.optimizer.param_groups),
            "negative_distance": distance,
        }

    def _set_rates(self, epochs: int, steps: int) -> None:
        """Decay the rates by finished epochs; those of the context first rise, step by step."""
        settings = self.params.train
        for part, group in zip(PARTS, self.optimizer.param_groups, strict=True):
            warm = min(1.0, (steps + 1) / (settings.warmup + 1)) if part in ("smoothing", "graph") else 1.0
            group["lr"] = self.rates[part] * settings.decay**epochs * warm

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
        if settings.losses.asmk:
            self.words = self._learn_words(pool, epoch)
        chosen = torch.from_numpy(np.searchsorted(pool, negatives)).to(self.device)
        distance = (2 - 2 * similarity.gather(1, chosen)).clamp_min(0).sqrt().mean()
        return np.concatenate([pairs, negatives], axis=1), float(distance)

    def _describe(self, ids: Ids, epoch: int) -> Tensor:
        self.model.eval()
        unique, inverse = np.unique(ids, return_inverse=True)
        photos = [self.images.photos[i] for i in unique]
        with ticking(self.track, f"mine negatives of epoch {epoch}", len(photos)) as tick:
            vectors = describe_globally(self.model, self.maps, photos, tick)
        return vectors[torch.from_numpy(inverse).to(self.device)]

    def _step(self, tuples: Ids) -> float:
        """One step of the optimiser over a batch of tuples; returns the summed loss.

        With frozen BatchNorm tuples are independent and pass one at a time, which bounds the memory; BatchNorm that
        is trained needs all images of the batch for its statistics.
        """
        self.optimizer.zero_grad()
        independent = self.frozen or self.model.freeze_batchnorm
        total = 0.0
        for part in np.split(tuples, len(tuples)) if independent else [tuples]:
            loss = self._loss(part, self._contexts(part.ravel()))
            torch.autograd.backward(loss)
            total += loss.item()
        if not np.isfinite(total):
            raise LrcrError(f"training: the loss is {total} at images {tuples[:, 0].tolist()}; lower train.rates")
        self.optimizer.step()
        return total

    def _loss(self, tuples: Ids, contexts: Sequence[Context]) -> Tensor:
        """The loss over tuples of shape (T, 2 + N), given the context of each of their images, in order."""
        settings = self.params.train
        losses = settings.losses
        vectors = torch.cat([self.model.pool(context) for context in contexts]).view(*tuples.shape, -1)
        loss = losses.contrastive * contrastive_loss(vectors[:, 0], vectors[:, 1], vectors[:, 2:], settings.margin)
        if losses.matches or losses.asmk:
            local = [self.model.strongest_of(context, losses.descriptors) for context in contexts]
            for start in range(0, len(local), tuples.shape[1]):
                loss = loss + self._local_loss(*local[start : start + tuples.shape[1]])
        smoothing, penalty = self.model.smoothing, self.params.smoothing.penalty
        if penalty and isinstance(smoothing, LearnableSmoothing):
            bandwidths = [smoothing.filter(context.refined).bandwidth.mean() for context in contexts]
            loss = loss + penalty * torch.stack(bandwidths).sum()
        return loss

    def _local_loss(self, query: Tensor, positive: Tensor, *negatives: Tensor) -> Tensor:
        """The losses that compare local descriptors, of one tuple."""
        settings = self.params.train
        losses, loss = settings.losses, query.new_zeros(())
        if losses.matches:
            loss = loss + losses.matches * match_loss(query, positive, negatives, settings.margin)
        if losses.asmk:
            assert self.words is not None, "learned at the start of the epoch"
            loss = loss + losses.asmk * asmk_loss(query, positive, negatives, self.words, losses.temperature)
        return loss

    @torch.no_grad()
    def _learn_words(self, pool: Ids, epoch: int) -> Tensor:
        """Centroids of visual words, learned from the strongest descriptors of the pool."""
        losses, seed = self.params.train.losses, derive_seed(self.params.seed, "words", epoch) % 2**31
        photos, found = [self.images.photos[i] for i in pool], []
        for _, features in self.maps.batches(photos):
            context = self.model.context(features)
            rows = range(len(features))
            found += [self.model.strongest_of(context.of_image(row), losses.descriptors).cpu().numpy() for row in rows]
        descriptors = np.concatenate(found)
        kept = generator(self.params.seed, "word sample", epoch).permutation(len(descriptors))[: 64 * losses.words]
        codebook = learn_codebook(descriptors[np.sort(kept)], losses.words, iterations=_ITERATIONS, seed=seed)
        return torch.from_numpy(codebook.centroids).to(self.device)

    def _contexts(self, ids: Ids) -> list[Context]:
        """The context of each image, with gradient.

        BatchNorm that is trained needs statistics of all images at once, so there they are brought to one square
        shape; the changed aspect is no more than what a change of viewpoint does.
        """
        photos = [self.images.photos[i] for i in ids]
        if self.frozen or self.model.freeze_batchnorm:
            batches = self.maps.batches(photos, len(photos))
        else:
            batches = iter([self._square_maps(photos)])
        found = {
            position: context.of_image(row)
            for positions, features in batches
            for context in [self.model.context(features)]
            for row, position in enumerate(positions)
        }
        return [found[position] for position in range(len(photos))]

    def _square_maps(self, photos: Sequence[Photo]) -> tuple[list[int], Tensor]:
        size = self.params.train.image_size
        batches = list(load_batches(photos, size, len(photos)))
        images = [F.interpolate(batch.images.to(self.device), (size, size), mode="bilinear") for batch in batches]
        return [position for batch in batches for position in batch.positions], self.model.backbone(
            torch.cat(images).contiguous(memory_format=torch.channels_last)
        )
