"""The training of a local model: whitening, then epochs of mined tuples, the best by validation mAP kept."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lrcr.artifacts import Manifest, state_folder
from lrcr.datasets.dataset import Dataset, open_dataset
from lrcr.device import make_deterministic, resolve_device
from lrcr.models.local import LocalModel
from lrcr.models.zoo import MODEL_SECTIONS, build_model, save_model, weight_files
from lrcr.params import Params
from lrcr.progress import Track, silent
from lrcr.training.checkpoint import Progress, resume, save_checkpoint
from lrcr.training.maps import Maps, StoredMaps, TrunkMaps
from lrcr.training.trainer import PARTS, Trainer
from lrcr.training.tuples import TrainingSet, training_set
from lrcr.training.validation import Validator, hold_out
from lrcr.training.whitening import learn_whitening

_LOG = logging.getLogger(__name__)

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
    model = build_model(params).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    images, run = training_set(dataset), None
    state = state_folder(manifest.fingerprint)
    maps = _maps(params, model, state, device)
    if params.train.epochs:
        if validation is None:
            clusters, validation = hold_out(dataset, params.seed)
            images = training_set(dataset, clusters)
        validator = Validator(params, model, maps, images.photos, validation, device)
        run = _Run(params, model, images, maps, validator, state, log)
    if params.whitening.file is None:
        learn_whitening(model, maps, images.photos, params, track)
    if run is not None:
        run.train(device, track)
    save_model(model_file, model, manifest)
    shutil.rmtree(state)


def _manifest(params: Params, dataset: Dataset, validation: Dataset | None) -> Manifest:
    inputs = {"train": dataset.fingerprint, **weight_files(params)}
    if validation is not None:
        inputs["val"] = validation.fingerprint
    return Manifest("model", params.sections(*MODEL_SECTIONS), inputs)


def _maps(params: Params, model: LocalModel, state: Path, device: torch.device) -> Maps:
    trunk = TrunkMaps(model.backbone, params.train.image_size, device)
    return StoredMaps(trunk, state / "maps") if params.train.freeze == "backbone" else trunk


_ALONE = ("smoothing", "graph")


@dataclass
class _Run:
    """The phases of one training.

    Args:
        state: the folder in which every phase keeps its checkpoint.
    """

    params: Params
    model: LocalModel
    images: TrainingSet
    maps: Maps
    validator: Validator
    state: Path
    log: Log

    def train(self, device: torch.device, track: Track) -> None:
        """Run all phases and leave the weights of the best epoch in the model.

        Merging trains smoothing and graph each alone from the start, then both together from the best of each.
        """
        if not self.params.train.merge:
            self.model.load_state_dict(self._phase("all", PARTS, 0, device, track).weights)
            return
        start = _copy(self.model)
        epochs, alone = 0, {}
        for part in _ALONE:
            self.model.load_state_dict(start)
            others = set(PARTS) - set(_ALONE)
            alone[part] = self._phase(part, (part, *others), epochs, device, track)
            epochs += self.params.train.epochs
        better = max(alone.values(), key=lambda progress: progress.best_score)
        merged = dict(better.weights)
        for part, progress in alone.items():
            own = (name for name in merged if name.startswith(f"{part}."))
            merged.update({name: progress.weights[name] for name in own})
        self.model.load_state_dict(merged)
        together = self._phase("together", PARTS, epochs, device, track)
        best = max(together, better, key=lambda progress: progress.best_score)
        self.model.load_state_dict(best.weights)

    def _phase(self, name: str, parts: tuple[str, ...], done: int, device: torch.device, track: Track) -> Progress:
        """Run the epochs of one phase that are still to do; `done` epochs were those of earlier phases."""
        trainer = Trainer(self.params, self.model, self.images, self.maps, device, track, parts=parts)
        settings, checkpoint = self.params.train, self.state / f"{name}.pt"
        if not any(parameter.requires_grad for parameter in self.model.parameters()):
            _LOG.warning("training: nothing to train (train.freeze, train.rates); the model stays off the shelf")
            return Progress(best=_copy(self.model))
        progress = resume(checkpoint, self.model, trainer.optimizer, device)
        for values in progress.history:
            self.log(values)
        for epoch in range(done + len(progress.history) + 1, done + settings.epochs + 1):
            values = trainer.run_epoch(epoch, first=done + 1)
            if (epoch - done) % settings.validation.every == 0 or epoch == done + settings.epochs:
                values["validation_map"] = self.validator.score()
                if values["validation_map"] > progress.best_score:
                    progress.best_score, progress.best = values["validation_map"], _copy(self.model)
            progress.history.append(values)
            save_checkpoint(checkpoint, progress, self.model, trainer.optimizer)
            self.log(values)
        return progress


def _copy(model: LocalModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
