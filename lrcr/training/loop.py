"""The training of a model: whitening, then epochs of its own kind, the best by validation mAP kept."""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from lrcr.config.params import Params
from lrcr.data.dataset import Dataset, open_dataset
from lrcr.errors import ParamsError
from lrcr.models.factory import MODEL_SECTIONS, Model, build_model, save_model, weight_files
from lrcr.models.global_model import GlobalModel
from lrcr.progress import SILENT, Progress
from lrcr.runtime import distributed
from lrcr.runtime.device import explain_out_of_memory, make_deterministic, resolve_device
from lrcr.storage.artifacts import Manifest, state_folder
from lrcr.training.batchnorm import share_batchnorm
from lrcr.training.checkpoint import TrainingState, resume, save_checkpoint
from lrcr.training.classification import TUPLE, ClassifierHead, LabelTrainer, labelled, seed_of_classifier
from lrcr.training.listwise import ListwiseTrainer
from lrcr.training.maps import Maps, StoredMaps, TrunkMaps
from lrcr.training.tuple_trainer import TupleTrainer
from lrcr.training.tuples import TrainingSet, training_set
from lrcr.training.validation import Validator, hold_out
from lrcr.training.whitening import learn_whitening

_LOG = logging.getLogger(__name__)

Log = Callable[[dict[str, float]], None]
"""Receives the values of an epoch: epoch (from 1), loss, rate, validation_map, and what its kind of epoch adds."""


def _forget(values: dict[str, float]) -> None:
    """Log nothing."""


def train(
    params: Params,
    train_folder: Path,
    val_folder: Path | None,
    model_file: Path,
    *,
    log: Log = _forget,
    progress: Progress = SILENT,
    maps_folder: Path | None = None,
) -> None:
    """Train a model on one dataset, choose its best epoch on another, and store it.

    Without a validation set 20 % of the landmarks are held out by the seed. `train.epochs: 0` gives the off-the-shelf
    model with its whitening. A killed training continues after its last whole epoch. Under `torchrun` the ranks share
    the work (`lrcr.runtime.distributed`); the first logs and writes.

    Args:
        maps_folder: where the maps of a frozen trunk are kept afterwards, for others to train on with the same trunk,
            image size and dataset; None keeps none.

    Raises:
        DatasetError: the dataset has no pairs to train on, or too few landmarks.
        OutOfMemoryError: the memory does not suffice.
        ParamsError: the ranks cannot share this training evenly.
        WeightsError: weights or whitening do not fit.
    """
    make_deterministic()
    device = resolve_device(params.device)
    _require_even_shares(params)
    with distributed.process_group(device), explain_out_of_memory(_memory_remedy(params)):
        if distributed.rank():
            log, track = _forget, silent
        state = _train(params, train_folder, val_folder, model_file, log, progress, maps_folder, device)
    if distributed.is_local_main():
        shutil.rmtree(state, ignore_errors=True)  # machines may share it


def _require_even_shares(params: Params) -> None:
    """Refuse what several ranks would not train as one does; the first speaks for all, which wait for it."""
    settings, name, count = params.train, params.model.name, distributed.world_size()
    if count == 1 or distributed.rank() or not settings.epochs:
        return
    key, batch = ("train.cfcd.batch", settings.cfcd.batch) if name == "cfcd" else ("train.batch", settings.batch)
    tuples = max(1, batch // TUPLE) if name == "cfcd" and settings.cfcd.fine_epochs else batch
    if name != "apgem" and (batch % count or tuples % count):
        together = f" in tuples of {TUPLE}" if tuples != batch else ""
        raise ParamsError(f"{key}: {batch}{together} cannot be shared evenly by {count} ranks; give a multiple")
    if name != "cfcd" and _trains_batchnorm(params):
        raise ParamsError(
            "backbone.weights: a trunk from nothing trains its BatchNorm on whole batches, which ranks cannot share; "
            "name weights, or start one process"
        )


def _trains_batchnorm(params: Params) -> bool:
    """Whether the trunk's BatchNorm is trained, in a model that freezes that of a trunk with weights."""
    return params.backbone.weights == "none" and params.train.freeze == "none"


def _memory_remedy(params: Params) -> str:
    """What to lower where memory runs out: how large images are, or how many pass at once."""
    together = {"apgem": "train.apgem.chunk", "cfcd": "train.cfcd.batch"}
    count = together.get(params.model.name, "train.batch" if _trains_batchnorm(params) else "train.negatives")
    return f"lower train.image_size or {count}"


def _train(
    params: Params,
    train_folder: Path,
    val_folder: Path | None,
    model_file: Path,
    log: Log,
    progress: Progress,
    maps_folder: Path | None,
    device: torch.device,
) -> Path:
    """See `train`; returns the folder of its state, which has served."""
    dataset = open_dataset(train_folder)
    validation = None if val_folder is None else open_dataset(val_folder)
    manifest = _manifest(params, dataset, validation)
    model = build_model(params).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    images, run = training_set(dataset), None
    state = state_folder(manifest.fingerprint)
    maps = _maps(params, model, maps_folder or state / "maps", device)
    if params.train.epochs:
        if validation is None:
            clusters, validation = hold_out(dataset, params.seed)
            images = training_set(dataset, clusters)
        validator = Validator(params, model, maps, images.photos, validation, device)
        run = _Run(params, model, images, maps, validator, state, log, device, progress)
    if params.whitening.file is None or not params.model.is_local:
        learn_whitening(model, maps, images.photos, params, progress)
    if run is not None:
        run.train()
    if distributed.rank() == 0:
        save_model(model_file, model, manifest)
    return state


def _manifest(params: Params, dataset: Dataset, validation: Dataset | None) -> Manifest:
    inputs = {"train": dataset.fingerprint, **weight_files(params)}
    if validation is not None:
        inputs["val"] = validation.fingerprint
    return Manifest("model", params.sections(*MODEL_SECTIONS), inputs)


def _maps(params: Params, model: Model, folder: Path, device: torch.device) -> Maps:
    trunk = TrunkMaps(model.backbone, params.train.image_size, device)
    return StoredMaps(trunk, folder) if params.train.freeze == "backbone" else trunk


_ALONE = ("smoothing", "graph")


class Trainer(Protocol):
    """One kind of training, epoch by epoch."""

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """Whose state a checkpoint keeps."""
        ...

    @property
    def trained(self) -> nn.Module:
        """Whose weights a checkpoint keeps."""
        ...

    def run_epoch(self, epoch: int, first: int) -> dict[str, float]:
        """Train one epoch (from 1, over all phases; `first` is that of this phase) and return what to log."""
        ...


@dataclass
class _Run:
    """The phases of one training.

    Args:
        state: the folder in which every phase keeps its checkpoint.
    """

    params: Params
    model: Model
    images: TrainingSet
    maps: Maps
    validator: Validator
    state: Path
    log: Log
    device: torch.device
    progress: Progress

    def train(self) -> None:
        """Run all phases and leave the weights of the best epoch in the model."""
        if isinstance(self.model, GlobalModel) and self.params.model.name == "cfcd":
            self._coarse_to_fine(self.model)
        elif isinstance(self.model, GlobalModel) and self.params.model.name == "apgem":
            trainer = ListwiseTrainer(self.params, self.model, self.images, self.device, self.progress)
            progress = self._phase("all", trainer, epochs=self.params.train.label_epochs)
            self.model.load_state_dict(progress.weights)
        elif self.params.train.merge:
            self._merge()
        else:
            self.model.load_state_dict(self._phase("all", self._tuples()).weights)

    def _tuples(self, parts: Sequence[str] | None = None) -> TupleTrainer:
        return TupleTrainer(self.params, self.model, self.images, self.maps, self.device, self.progress, parts=parts)

    def _merge(self) -> None:
        """Train smoothing and graph each alone from the start, then both together, if asked, from the best of each."""
        start = _copy(self.model)
        epochs, alone = 0, {}
        for part in _ALONE:
            self.model.load_state_dict(start)
            others = [other for other in self.model.parts() if other not in _ALONE]
            alone[part] = self._phase(part, self._tuples((part, *others)), done=epochs)
            epochs += self.params.train.epochs
        better = max(alone.values(), key=lambda progress: progress.best_score)
        merged = dict(better.weights)
        for part, progress in alone.items():
            own = (name for name in merged if name.startswith(f"{part}."))
            merged.update({name: progress.weights[name] for name in own})
        self.model.load_state_dict(merged)
        if self.params.train.together == 0:
            return
        together = self._phase("together", self._tuples(), done=epochs, epochs=self.params.train.together)
        best = max(together, better, key=lambda progress: progress.best_score)
        self.model.load_state_dict(best.weights)

    def _coarse_to_fine(self, model: GlobalModel) -> None:
        """Train with a classifier, then from the best epoch on with hard local negatives too."""
        images, classes = labelled(self.images)
        share_batchnorm(model)
        classified = ClassifierHead(model, int(classes.max()) + 1, seed_of_classifier(self.params))
        coarse, fine = self.params.train.label_epochs, self.params.train.cfcd.fine_epochs
        given = (self.params, classified, images, classes)
        best = self._phase("coarse", LabelTrainer(*given, coarse, self.device, self.progress), epochs=coarse)
        classified.load_state_dict(best.weights)
        if fine:
            trainer = LabelTrainer(*given, fine, self.device, self.progress, maps=self.maps)
            after = self._phase("fine", trainer, done=coarse, epochs=fine)
            classified.load_state_dict(max(best, after, key=lambda progress: progress.best_score).weights)

    def _phase(self, name: str, trainer: Trainer, *, done: int = 0, epochs: int | None = None) -> TrainingState:
        """Run the epochs of one phase that are still to do; `done` epochs were those of earlier phases."""
        settings, checkpoint = self.params.train, self.state / f"{name}.pt"
        last = done + (settings.epochs if epochs is None else epochs)
        trained = trainer.trained
        if not any(parameter.requires_grad for parameter in trained.parameters()):
            _LOG.warning("training: nothing to train (train.freeze, train.rates); the model stays off the shelf")
            return TrainingState(best=_copy(trained))
        progress = resume(checkpoint, trained, trainer.optimizer)
        for values in progress.history:
            self.log(values)
        for epoch in range(done + len(progress.history) + 1, last + 1):
            values = trainer.run_epoch(epoch, first=done + 1)
            if (epoch - done) % settings.validation.every == 0 or epoch == last:
                values["validation_map"] = distributed.broadcast(self.validator.score)
                if values["validation_map"] > progress.best_score:
                    progress.best_score, progress.best = values["validation_map"], _copy(trained)
            progress.history.append(values)
            if distributed.rank() == 0:
                save_checkpoint(checkpoint, progress, trained, trainer.optimizer)
            self.log(values)
        return progress


def _copy(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}
