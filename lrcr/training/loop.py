"""The training of a local model: whitening, then epochs of mined tuples, the best by validation mAP kept."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lrcr.artifacts import Manifest, state_folder
from lrcr.datasets.dataset import Dataset, open_dataset
from lrcr.device import generator, make_deterministic, resolve_device
from lrcr.errors import LrcrError
from lrcr.extraction import extract_global
from lrcr.loading import load_batches
from lrcr.losses.contrastive import contrastive_loss
from lrcr.models.local import LocalModel
from lrcr.models.zoo import MODEL_SECTIONS, build_model, save_model, weight_files
from lrcr.params import Params
from lrcr.progress import Track, silent, ticking
from lrcr.training.checkpoint import resume, save_checkpoint
from lrcr.training.tuples import Ids, TrainingSet, mine_negatives, training_set
from lrcr.training.validation import Validator, hold_out
from lrcr.training.whitening import learn_whitening

Log = Callable[[dict[str, float]], None]
"""Receives the values of an epoch: epoch (from 1), loss, rate, negative_distance and validation_map."""


def _forget(values: dict[str, float]) -> None:
    """Log nothing."""


def train(
    params: Params,
    train_folder: Path,
    val_folder: Path | None,
    model_file: Path,
    *,
    log: Log = _forget,
    track: Track = silent,
) -> None:
    """Train a model on one dataset, choose its best epoch on another, and store it.

    Without a validation set 20 % of the landmarks are held out by the seed. `train.epochs: 0` gives the off-the-shelf
    model with its whitening. A killed training continues after its last whole epoch.

    Raises:
        DatasetError: the dataset has no pairs to train on, or too few landmarks.
        WeightsError: weights or whitening do not fit.
    """
    make_deterministic()
    device = resolve_device(params.device)
    dataset = open_dataset(train_folder)
    validation = None if val_folder is None else open_dataset(val_folder)
    manifest = _manifest(params, dataset, validation)
    model = build_model(params).to(device)
    photos, trainer, validator = dataset.photos(), None, None
    if params.train.epochs:
        clusters = None
        if validation is None:
            clusters, validation = hold_out(dataset, params.seed)
        images = training_set(dataset, clusters)
        trainer, photos = Trainer(params, model, images, device, track), images.photos
        validator = Validator(params, photos, validation, device)
    if params.whitening.file is None:
        learn_whitening(model, photos, params, device, track)
    if trainer is not None and validator is not None:
        _train_epochs(trainer, validator, manifest.fingerprint, log)
    save_model(model_file, model, manifest)
    shutil.rmtree(state_folder(manifest.fingerprint))


def _manifest(params: Params, dataset: Dataset, validation: Dataset | None) -> Manifest:
    inputs = {"train": dataset.fingerprint, **weight_files(params)}
    if validation is not None:
        inputs["val"] = validation.fingerprint
    return Manifest("model", params.sections(*MODEL_SECTIONS), inputs)


def _train_epochs(trainer: "Trainer", validator: Validator, identity: str, log: Log) -> None:
    """Run the epochs that are still to do and leave the best one's weights in the model."""
    settings, model = trainer.params.train, trainer.model
    checkpoint = state_folder(identity) / "checkpoint.pt"
    progress = resume(checkpoint, model, trainer.optimizer, trainer.device)
    for values in progress.history:
        log(values)
    for epoch in range(len(progress.history) + 1, settings.epochs + 1):
        values = trainer.run_epoch(epoch)
        if epoch % settings.validation.every == 0 or epoch == settings.epochs:
            values["validation_map"] = validator.score(model)
            if values["validation_map"] > progress.best_score:
                progress.best_score = values["validation_map"]
                progress.best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        progress.history.append(values)
        save_checkpoint(checkpoint, progress, model, trainer.optimizer)
        log(values)
    assert progress.best is not None, "the last epoch is always validated"
    model.load_state_dict(progress.best)


class Trainer:
    """Runs epochs of contrastive training.

    Args:
        params: the `train` section and the seed.
        model: on `device`.
        images: what to draw tuples from.
    """

    def __init__(
        self, params: Params, model: LocalModel, images: TrainingSet, device: torch.device, track: Track = silent
    ) -> None:
        self.params = params
        self.model = model
        self.images = images
        self.device = device
        self.track = track
        # A trunk that starts from nothing soon outgrows a whitening of its random features.
        self.refits = params.backbone.weights == "none" and params.whitening.file is None
        settings = params.train
        rates = settings.rates
        for parameter in model.whitening.parameters():
            parameter.requires_grad_(rates.whitening > 0)
        groups = [
            {"params": [*model.backbone.parameters(), *model.smoothing.parameters()], "lr": rates.backbone},
            {"params": [*model.whitening.parameters()], "lr": rates.whitening},
        ]
        self.optimizer = torch.optim.Adam(groups, weight_decay=settings.weight_decay)

    def run_epoch(self, epoch: int) -> dict[str, float]:
        """Mine this epoch's tuples, take one step a batch of them, and return what is worth logging.

        A trunk that started from nothing has its whitening learned again at the end.
        """
        settings = self.params.train
        decay = settings.decay ** (epoch - 1)
        for group, rate in zip(self.optimizer.param_groups, settings.rates.model_dump().values(), strict=True):
            group["lr"] = rate * decay
        tuples, distance = self.draw_tuples(epoch)
        self.model.train()
        starts = range(0, len(tuples), settings.batch)
        losses = [
            self._step(tuples[first : first + settings.batch])
            for first in self.track(starts, f"epoch {epoch} of {settings.epochs}", len(starts))
        ]
        if self.refits:
            learn_whitening(self.model, self.images.photos, self.params, self.device, self.track)
        loss = sum(losses) / len(tuples)
        return {
            "epoch": epoch,
            "loss": loss,
            "rate": settings.rates.backbone * decay,
            "negative_distance": distance,
        }

    def draw_tuples(self, epoch: int) -> tuple[Ids, float]:
        """An epoch's tuples, and the mean distance of its queries to their negatives.

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
        chosen = torch.from_numpy(np.searchsorted(pool, negatives)).to(self.device)
        distance = (2 - 2 * similarity.gather(1, chosen)).clamp_min(0).sqrt().mean()
        return np.concatenate([pairs, negatives], axis=1), float(distance)

    def _describe(self, ids: Ids, epoch: int) -> Tensor:
        self.model.eval()
        unique, inverse = np.unique(ids, return_inverse=True)
        photos = [self.images.photos[i] for i in unique]
        with ticking(self.track, f"mine negatives of epoch {epoch}", len(photos)) as tick:
            vectors = extract_global(self.model, photos, self.params.train.image_size, self.device, tick)
        return vectors[torch.from_numpy(inverse).to(self.device)]

    def _step(self, tuples: Ids) -> float:
        """One step of the optimiser over a batch of tuples; returns the summed loss.

        With frozen BatchNorm tuples are independent and pass one at a time, which bounds the memory; BatchNorm that
        is trained needs all images of the batch for its statistics.
        """
        self.optimizer.zero_grad()
        parts = np.split(tuples, len(tuples)) if self.model.freeze_batchnorm else [tuples]
        total = 0.0
        for part in parts:
            vectors = self._forward(part.ravel()).view(*part.shape, -1)
            loss = contrastive_loss(vectors[:, 0], vectors[:, 1], vectors[:, 2:], self.params.train.margin)
            torch.autograd.backward(loss)
            total += loss.item()
        if not np.isfinite(total):
            raise LrcrError(f"training: the loss is {total} at images {tuples[:, 0].tolist()}; lower train.rates")
        self.optimizer.step()
        return total

    def _forward(self, ids: Ids) -> Tensor:
        """Descriptors of images, with gradient: of shape (n, D).

        BatchNorm that is trained needs statistics of all images at once, so there they are brought to one square
        shape; the changed aspect is no more than what a change of viewpoint does.
        """
        size = self.params.train.image_size
        photos = [self.images.photos[i] for i in ids]
        batches = list(load_batches(photos, size, len(photos)))
        positions = torch.tensor([position for batch in batches for position in batch.positions])
        images = [batch.images.to(self.device) for batch in batches]
        if not self.model.freeze_batchnorm:
            images = [torch.cat([F.interpolate(part, (size, size), mode="bilinear") for part in images])]
        vectors = torch.cat([self.model(part) for part in images])
        return vectors[positions.argsort().to(self.device)]
