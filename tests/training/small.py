"""Small trainings, and what is asked of them."""

from collections.abc import Callable, Collection
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.data.dataset import open_dataset
from lrcr.models.factory import build_model, open_model
from lrcr.models.model import Model
from lrcr.training.maps import StoredMaps, TrunkMaps
from lrcr.training.objective import make_objective
from lrcr.training.setup import Setup
from lrcr.training.train import train
from lrcr.training.tuple_trainer import TupleTrainer
from lrcr.training.tuples import training_set
from lrcr.training.validation import make_validator

CPU = torch.device("cpu")
SIZE = 32
SMALL = (
    *("backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none", "backbone.crop_border=0"),
    *("smoothing.kind=average", f"train.image_size={SIZE}", "train.epochs=2", "train.validation.by=global"),
    *("train.pretrain.epochs=0", "whitening.dim=8", "whitening.images=12", "whitening.max_descriptors=60"),
    *("train.tuples.queries_per_epoch=5", "train.tuples.negative_pool=16", "train.tuples.negatives=2"),
    *("train.tuples.batch_size=2", "train.tuples.learning_rates.backbone=1e-3", "train.tuples.lr_decay=0.5"),
)
CONTEXT = (
    *("smoothing.kind=learnable", "graph.kind=gcn", "graph.width=8"),
    *("train.tuples.learning_rates.context=1e-2", "train.tuples.warmup_steps=1"),
)
GLOBAL = (
    *("train.tuples.learning_rates.context=1e-2", "train.tuples.warmup_steps=1"),
    *("train.listwise.learning_rates={backbone: 1e-3, context: 1e-2}", "train.listwise.warmup_steps=1"),
    *("train.listwise.batch_size=10", "train.listwise.chunk_size=5", "train.listwise.lr_decay=0.5"),
    *("train.classification.batch_size=8", "train.classification.warmup_epochs=1"),
    *("train.classification.fine_epochs=1", "train.classification.learning_rate=0.05"),
)


def small(*overrides: str) -> Params:
    """Params of a local model whose training takes a moment."""
    return load_params(overrides=[*SMALL, *overrides])


def context(pretrained: Path, *overrides: str) -> Params:
    """Params of a local model with learnable smoothing and a graph."""
    return small(f"backbone.weights={pretrained}", *CONTEXT, *overrides)


def small_global(name: str, *overrides: str) -> Params:
    """Params of a global model whose training takes a moment."""
    return small(f"model.name={name}", *GLOBAL, *overrides)


@cache
def _build(params: str) -> Model:
    return build_model(Params.model_validate_json(params))


def build(params: Params) -> Model:
    """`build_model`, of which most time draws weights, once for all tests with these params."""
    return deepcopy(_build(params.model_dump_json()))


class Killed(BaseException):
    """As a signal: no `except Exception` catches it."""


def kill_after(epoch: int) -> Callable[[dict[str, float]], None]:
    """A log that ends the training after this epoch."""

    def log(values: dict[str, float]) -> None:
        if values["epoch"] == epoch:
            raise Killed

    return log


def kill_after_line(line: int) -> Callable[[dict[str, float]], None]:
    """A log that ends the training after so many lines: starts of phases, and epochs."""
    logged: list[dict[str, float]] = []

    def log(values: dict[str, float]) -> None:
        logged.append(values)
        if len(logged) == line:
            raise Killed

    return log


class RewardChanges:
    """A validator that adds to the mAP how far all weights are from those before the training.

    So an epoch is the best, also where the mAP of the start is as good.
    """

    def __init__(self, *given: Any) -> None:
        self.validator = make_validator(*given)
        self.model = given[1].model
        self.initial = copy_state(self.model)

    def score(self) -> float:
        after = self.model.state_dict().items()
        distance = sum(float((tensor.double() - self.initial[name]).abs().sum()) for name, tensor in after)
        return self.validator.score() + 1000 * distance


class WorseStart:
    """A validator that finds the first mAP of a training, that of its start, a little lower than it is."""

    def __init__(self, *given: Any) -> None:
        self.validator = make_validator(*given)
        self.is_start = True

    def score(self) -> float:
        score = self.validator.score() - 1e-3 * self.is_start
        self.is_start = False
        return score


def run(params: Params, folder: Path, model_file: Path, val: Path | None = None) -> list[dict[str, float]]:
    """Train, and return what was logged."""
    logged: list[dict[str, float]] = []
    train(params, folder, val, model_file, log=logged.append)
    return logged


def weights(model_file: Path) -> dict[str, Tensor]:
    """The tensors of a model file."""
    return open_model(model_file)[0].state_dict()


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether two models have equal tensors of equal names."""
    return a.keys() == b.keys() and not moved(a, b)


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    """The names of the tensors that are not equal."""
    return {name for name in before if not torch.equal(before[name], after[name])}


def parts(names: Collection[str]) -> set[str]:
    """The parts of the model to which tensors belong."""
    return {name.split(".")[0] for name in names}


def copy_state(module: torch.nn.Module) -> dict[str, Tensor]:
    """A module's tensors as they are now."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def make_setup(params: Params, folder: Path, maps_folder: Path | None = None) -> Setup:
    """What all trainers work with; the maps of frozen stages are stored where a folder is given."""
    model, trained_stages = build(params), params.train.trained_stages
    if trained_stages is not None:
        model.freeze(trained_stages)
    source = (model.backbone, params.train.image_size, CPU)
    return Setup(
        model=model,
        images=training_set(open_dataset(folder)),
        maps=TrunkMaps(*source) if maps_folder is None else StoredMaps(*source, maps_folder),
        image_size=params.train.image_size,
        weight_decay=params.train.weight_decay,
        seed=params.seed,
        device=CPU,
    )


def make_trainer(params: Params, folder: Path, maps_folder: Path | None = None) -> TupleTrainer:
    """A trainer on tuples."""
    setup = make_setup(params, folder, maps_folder)
    return TupleTrainer(setup, params.train.tuples, make_objective(params, setup))
