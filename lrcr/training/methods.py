"""The methods of training: each the phases that it runs, and what limits it."""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from lrcr.config.params import Params
from lrcr.errors import ParamsError
from lrcr.training.batchnorm import share_batchnorm
from lrcr.training.classification import TUPLE, ClassificationTrainer
from lrcr.training.classifier import ClassifierHead
from lrcr.training.listwise import ListwiseTrainer
from lrcr.training.objective import make_objective
from lrcr.training.phases import Phases, copy_weights
from lrcr.training.setup import Setup
from lrcr.training.tuple_trainer import TupleTrainer
from lrcr.training.tuples import labelled_images
from lrcr.training.whitening import learn_whitening

_CONTEXT = ("smoothing", "graph")


class Method(Protocol):
    """A method of training."""

    memory_key: str
    """The param to lower where memory runs out."""

    def require_even_shares(self, ranks: int) -> None:
        """Refuse a training that several ranks would not do as one does.

        Raises:
            ParamsError: naming the param.
        """
        ...

    def train(self, setup: Setup, phases: Phases) -> None:
        """Run all phases and leave the weights of the best epoch in the model."""
        ...


def method_of(params: Params) -> Method:
    """The method by which the params train."""
    methods: dict[str, type[Tuples] | type[Listwise] | type[Classification]] = {
        "tuples": Tuples,
        "listwise": Listwise,
        "classification": Classification,
    }
    return methods[params.method](params)


class Tuples:
    """Tuples of query, positive and negatives (`train.tuples`)."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.settings = params.train.tuples
        self.memory_key = f"train.tuples.{'batch_size' if _trains_batchnorm(params) else 'negatives'}"

    def require_even_shares(self, ranks: int) -> None:
        """See `Method`: each rank takes as many tuples of a batch."""
        _require_multiple("train.tuples.batch_size", self.settings.batch_size, ranks)
        _refuse_trained_batchnorm(self.params)

    def train(self, setup: Setup, phases: Phases) -> None:
        """See `Method`."""
        if self.settings.schedule == "joint":
            state = phases.run("all", self._trainer(setup), epochs=self.params.train.epochs)
            setup.model.load_state_dict(state.weights)
        else:
            self._train_separately(setup, phases)

    def _train_separately(self, setup: Setup, phases: Phases) -> None:
        """Train smoothing and graph each alone from the start, join the best of each, and perhaps train both on."""
        model, epochs = setup.model, self.params.train.epochs
        start, done, alone = copy_weights(model), 0, {}
        for part in _CONTEXT:
            model.load_state_dict(start)
            others = [other for other in model.parts() if other not in _CONTEXT]
            alone[part] = phases.run(part, self._trainer(setup, (part, *others)), epochs=epochs, done=done)
            done += epochs
        better = max(alone.values(), key=lambda state: state.best_score)
        joined = dict(better.weights)
        for part, state in alone.items():
            names = (name for name in joined if name.startswith(f"{part}."))
            joined.update({name: state.weights[name] for name in names})
        model.load_state_dict(joined)
        if self.settings.schedule == "separate_then_joint":
            joint = phases.run("joint", self._trainer(setup), epochs=epochs, done=done)
            model.load_state_dict(max(joint, better, key=lambda state: state.best_score).weights)

    def _trainer(self, setup: Setup, parts: Sequence[str] | None = None) -> TupleTrainer:
        params, refit = self.params, None
        if params.from_scratch and setup.model.supports("local descriptors"):
            photos = setup.images.photos
            refit = partial(
                learn_whitening, setup.model, setup.maps, photos, params.whitening, params.seed, setup.progress
            )
        objective = make_objective(params, setup)
        return TupleTrainer(setup, self.settings, objective, parts=parts, refit_whitening=refit)


class Listwise:
    """Quantised average precision over large batches (`train.listwise`)."""

    memory_key = "train.listwise.chunk_size"

    def __init__(self, params: Params) -> None:
        self.params = params

    def require_even_shares(self, ranks: int) -> None:
        """See `Method`: chunks need not be as many on every rank."""
        _refuse_trained_batchnorm(self.params)

    def train(self, setup: Setup, phases: Phases) -> None:
        """See `Method`."""
        settings = self.params.train.listwise
        epochs = settings.epochs or self.params.train.epochs
        state = phases.run("all", ListwiseTrainer(setup, settings), epochs=epochs)
        setup.model.load_state_dict(state.weights)


class Classification:
    """A classifier, then hard local negatives too (`train.classification`)."""

    memory_key = "train.classification.batch_size"

    def __init__(self, params: Params) -> None:
        self.params = params
        self.settings = params.train.classification

    def require_even_shares(self, ranks: int) -> None:
        """See `Method`: each rank takes as many images of a batch, or tuples in the second phase."""
        key, size = "train.classification.batch_size", self.settings.batch_size
        _require_multiple(key, size, ranks)
        if self.settings.fine_epochs and max(1, size // TUPLE) % ranks:
            _refuse_share(key, f"{size} in tuples of {TUPLE}", ranks)

    def train(self, setup: Setup, phases: Phases) -> None:
        """See `Method`: with a classifier, then from the best epoch on with hard local negatives too."""
        settings, coarse = self.settings, self.settings.epochs or self.params.train.epochs
        images, classes = labelled_images(setup.images)
        share_batchnorm(setup.model)
        head = ClassifierHead(setup.model, int(classes.max()) + 1, self.params.seed)
        trainer = ClassificationTrainer(setup, settings, head, images, classes, coarse)
        best = phases.run("coarse", trainer, epochs=coarse)
        head.load_state_dict(best.weights)
        fine = settings.fine_epochs
        if fine:
            trainer = ClassificationTrainer(setup, settings, head, images, classes, fine, fine=True)
            after = phases.run("fine", trainer, epochs=fine, done=coarse)
            head.load_state_dict(max(best, after, key=lambda state: state.best_score).weights)


def _trains_batchnorm(params: Params) -> bool:
    """Whether the trunk's BatchNorm is trained, in a model that freezes that of a trunk with weights."""
    return params.backbone.weights == "none" and params.train.freeze == "none"


def _require_multiple(key: str, size: int, ranks: int) -> None:
    if size % ranks:
        _refuse_share(key, str(size), ranks)


def _refuse_share(key: str, given: str, ranks: int) -> None:
    raise ParamsError(f"{key}: {given} cannot be shared evenly by {ranks} ranks; give a multiple")


def _refuse_trained_batchnorm(params: Params) -> None:
    if _trains_batchnorm(params):
        raise ParamsError(
            "backbone.weights: a trunk without weights trains its BatchNorm on whole batches, which ranks cannot "
            "share; name weights, or start one process"
        )
