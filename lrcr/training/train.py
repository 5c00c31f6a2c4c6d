"""Training a model: pretrain what has no weights, learn the whitening, train by the method, keep the best."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch

from lrcr.config.params import MODEL_SECTIONS, Params
from lrcr.data.dataset import Dataset, open_dataset
from lrcr.features.compute import choose_compute
from lrcr.models.factory import build_model, save_model, weight_files
from lrcr.models.model import Model
from lrcr.progress import SILENT, Progress
from lrcr.runtime import distributed
from lrcr.runtime.device import computed_on, explain_out_of_memory, make_deterministic, resolve_device
from lrcr.storage.artifacts import Manifest
from lrcr.storage.state import remove_state, state_folder
from lrcr.training.maps import Maps, StoredMaps, TrunkMaps
from lrcr.training.methods import Method, method_of, require_multiple
from lrcr.training.phases import Log, Phases
from lrcr.training.pretraining import pretrain, pretraining_images
from lrcr.training.setup import Setup
from lrcr.training.tuples import training_set
from lrcr.training.validation import hold_out, make_validator
from lrcr.training.whitening import learn_whitening


def _no_log(values: dict[str, float]) -> None:
    """Log nothing."""


def train(
    params: Params,
    train_folder: Path,
    val_folder: Path | None,
    model_file: Path,
    *,
    log: Log = _no_log,
    progress: Progress = SILENT,
    maps_folder: Path | None = None,
) -> None:
    """Train a model on one dataset, choose the best epoch, or the start, on another one, and store the model.

    Without a validation set, 20 % of the landmarks are held out; the seed determines which. `train.epochs: 0` only
    learns the whitening, and pretrains nothing. A killed training continues after its last complete epoch. With
    `torchrun` the ranks share the work (`lrcr.runtime.distributed`); rank 0 logs and writes.

    Args:
        maps_folder: folder of the stored maps of the frozen stages, for other trainings with the same backbone and
            the same image files; None: the maps are removed at the end.

    Raises:
        DatasetError: the dataset has no pairs to train on, or too few landmarks.
        OutOfMemoryError: the memory does not suffice.
        ParamsError: the ranks cannot share this training evenly.
        WeightsError: the weights or the whitening cannot be read, or do not fit the model, or the backbone cannot be
            frozen as `train.freeze` says.
    """
    make_deterministic()
    device, method = resolve_device(params.device), method_of(params)
    if distributed.world_size() > 1 and not distributed.rank() and params.train.epochs:
        _require_even_shares(params, method, distributed.world_size())  # if this raises, torchrun ends the other ranks
    remedy = f"lower train.image_size or {method.memory_key}"
    with distributed.process_group(device), explain_out_of_memory(remedy):
        if distributed.rank():
            log, progress = _no_log, SILENT
        dataset = open_dataset(train_folder)
        validation = None if val_folder is None else open_dataset(val_folder)
        model = build_model(params).to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        model.eval()
        compute = distributed.broadcast(lambda: choose_compute(params.train.compute, model.backbone, device))
        model.backbone.compute = getattr(torch, compute)
        manifest = _manifest(params, dataset, validation, compute)
        with state_folder(__name__, manifest.fingerprint, shared=distributed.rank() > 0, kept=True) as state:
            distributed.broadcast(lambda: None)  # the first rank has the folder
            setup = _set_up(params, model, dataset, maps_folder or state / "maps", device, progress)
            _run(params, method, setup, dataset, validation, state, log)
            if distributed.rank() == 0:
                save_model(model_file, setup.model, replace(manifest, facts=computed_on(device.type)))
            distributed.broadcast(lambda: None)  # the model is saved
            if distributed.is_local_main():
                with suppress(OSError):  # several machines may share it
                    remove_state(state)
            distributed.all_reduce_sum(torch.zeros(1, device=device))  # the last one has removed it


def _require_even_shares(params: Params, method: Method, ranks: int) -> None:
    if params.pretrains:
        require_multiple("train.pretrain.batch_size", params.train.pretrain.batch_size, ranks)
    method.require_even_shares(ranks)


def _manifest(params: Params, dataset: Dataset, validation: Dataset | None, compute: str) -> Manifest:
    inputs = {"train": dataset.fingerprint, "compute": compute, **weight_files(params)}
    if validation is not None:
        inputs["val"] = validation.fingerprint
    return Manifest("model", params.sections(*MODEL_SECTIONS), inputs)


def _set_up(
    params: Params, model: Model, dataset: Dataset, maps_folder: Path, device: torch.device, progress: Progress
) -> Setup:
    settings = params.train
    maps: Maps = TrunkMaps(model.backbone, settings.image_size, device)
    if settings.trained_stages is not None:
        maps = StoredMaps(model.backbone, settings.image_size, device, maps_folder)
    return Setup(
        model=model,
        images=training_set(dataset),
        maps=maps,
        image_size=settings.image_size,
        weight_decay=settings.weight_decay,
        seed=params.seed,
        device=device,
        progress=progress,
    )


def _run(
    params: Params,
    method: Method,
    setup: Setup,
    dataset: Dataset,
    validation: Dataset | None,
    state: Path,
    log: Log,
) -> None:
    """Pretrain what has no weights, learn the whitening, run the epochs of the training, if any.

    A model whose training does not use the whitening learns it last.
    """
    phases, trained_stages = None, params.train.trained_stages
    learns = params.whitening.file is None or not setup.model.supports("local descriptors")
    late = setup.model.supports("late whitening")
    if trained_stages:
        setup.model.require_stages(trained_stages)
    if params.train.epochs:
        if validation is None:
            clusters, validation = hold_out(dataset, params.seed)
            setup.images = training_set(dataset, clusters)
        if params.pretrains:
            pretraining_images(setup.images)
        method.require_images(setup.images)
        whitening = params.whitening if learns and late else None
        validator = make_validator(params.train.validation, setup, validation, whitening)
        loss = method.validation_loss(setup, validation)
        phases = Phases(state, validator.score, params.train.validation.every, log, loss=loss)
        if params.pretrains:
            trains_trunk = params.backbone.weights == "none"
            pretrain(params.train.pretrain, setup, phases, trains_trunk=trains_trunk)
    if trained_stages is not None:
        setup.model.freeze(trained_stages)
    if learns and not late:
        _learn_whitening(params, setup)
    if phases is not None:
        method.train(setup, phases)
    if learns and late:
        _learn_whitening(params, setup)


def _learn_whitening(params: Params, setup: Setup) -> None:
    learn_whitening(setup.model, setup.maps, setup.images.photos, params.whitening, params.seed, setup.progress)
