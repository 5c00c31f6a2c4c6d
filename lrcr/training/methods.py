"""The training methods: the phases of each method, and its limits with several ranks."""

from collections.abc import Callable, Sequence
from typing import Protocol

from lrcr.config.params import Params
from lrcr.data.dataset import Dataset
from lrcr.errors import ParamsError
from lrcr.models.model import Model
from lrcr.training.batchnorm import sync_batchnorm
from lrcr.training.classification import TUPLE, ClassificationTrainer
from lrcr.training.classifier import ClassifierHead
from lrcr.training.listwise import ListwiseTrainer
from lrcr.training.objective import make_objective
from lrcr.training.phases import Phases, copy_weights
from lrcr.training.setup import Setup
from lrcr.training.tuple_trainer import TupleTrainer
from lrcr.training.tuples import TrainingSet, labelled_images, require_tuples
from lrcr.training.validation_loss import ValidationLoss

_CONTEXT = ("smoothing", "graph")


class Method(Protocol):
    """A training method."""

    memory_key: str
    """The param to lower if the memory does not suffice."""

    def require_even_shares(self, ranks: int) -> None:
        """Refuse a training that several ranks would do differently from one.

        Raises:
            ParamsError: a param does not allow this number of ranks.
        """
        ...

    def require_images(self, images: TrainingSet) -> None:
        """Refuse images of which too few have labels, before any work begins.

        Raises:
            DatasetError: there are too few; the message says how many there are and what is needed.
        """
        ...

    def validation_loss(self, setup: Setup, validation: Dataset) -> Callable[[], float] | None:
        """What measures the loss of the validation photos by the current model; None: it is not measured.

        Raises:
            DatasetError: too few of the validation photos have labels.
        """
        ...

    def train(self, setup: Setup, phases: Phases) -> None:
        """Run all phases and load the best weights into the model."""
        ...


def method_of(params: Params) -> Method:
    """The training method that the params choose."""
    methods: dict[str, type[Tuples] | type[Listwise] | type[Classification]] = {
        "tuples": Tuples,
        "listwise": Listwise,
        "classification": Classification,
    }
    return methods[params.method](params)


class Tuples:
    """Training on tuples of query, positive and negatives (`train.tuples`)."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.settings = params.train.tuples
        self.memory_key = f"train.tuples.{'batch_size' if self.settings.losses.asmk else 'negatives'}"

    def require_even_shares(self, ranks: int) -> None:
        """See `Method`: each rank takes the same number of tuples of a batch."""
        require_multiple("train.tuples.batch_size", self.settings.batch_size, ranks)

    def require_images(self, images: TrainingSet) -> None:
        """See `Method`."""
        require_tuples(images, self.settings.negatives)

    def validation_loss(self, setup: Setup, validation: Dataset) -> ValidationLoss | None:
        """See `Method`."""
        return ValidationLoss(self.params, setup, validation) if self.settings.validation_pairs else None

    def train(self, setup: Setup, phases: Phases) -> None:
        """See `Method`."""
        if self.settings.schedule == "joint":
            state = phases.run("all", self._trainer(setup), epochs=self.params.train.epochs)
            setup.model.load_state_dict(state.weights)
        elif self.settings.schedule == "sequential":
            self._train_sequentially(setup, phases)
        else:
            self._train_separately(setup, phases)

    def _train_sequentially(self, setup: Setup, phases: Phases) -> None:
        """Train the graph, then smoothing on top of the best graph, which stays as it is."""
        model, score = setup.model, None
        others = [part for part in model.parts() if part not in _CONTEXT]
        for part in reversed(_CONTEXT):
            trainer = self._trainer(setup, (part, *others))
            state = phases.run(part, trainer, epochs=self.params.train.epochs, start_score=score)
            model.load_state_dict(state.weights)
            score = state.best_score

    def _train_separately(self, setup: Setup, phases: Phases) -> None:
        """Train smoothing and graph separately from the same weights, and combine the best weights of both.

        With `separate_then_joint`, the combined model is then trained as a whole. Where smoothing or graph alone is
        better on the validation photos, it is kept instead.
        """
        model, epochs = setup.model, self.params.train.epochs
        initial, start_score, separate = copy_weights(model), None, {}
        for part in _CONTEXT:
            model.load_state_dict(initial)
            others = [other for other in model.parts() if other not in _CONTEXT]
            trainer = self._trainer(setup, (part, *others))
            separate[part] = state = phases.run(part, trainer, epochs=epochs, start_score=start_score)
            start_score = state.history[0]["validation_map"] if state.history else None
        better = max(separate.values(), key=lambda state: state.best_score)
        combined = dict(better.weights)
        for part, state in separate.items():
            names = (name for name in combined if name.startswith(f"{part}."))
            combined.update({name: state.weights[name] for name in names})
        model.load_state_dict(combined)
        joint_epochs = epochs if self.settings.schedule == "separate_then_joint" else 0
        joint = phases.run("joint", self._trainer(setup), epochs=joint_epochs)
        model.load_state_dict(max(joint, better, key=lambda state: state.best_score).weights)

    def _trainer(self, setup: Setup, parts: Sequence[str] | None = None) -> TupleTrainer:
        return TupleTrainer(setup, self.settings, make_objective(self.params, setup), parts=parts)


class Listwise:
    """Training by quantised average precision over large batches (`train.listwise`)."""

    memory_key = "train.listwise.chunk_size"

    def __init__(self, params: Params) -> None:
        self.params = params

    def require_even_shares(self, ranks: int) -> None:
        """See `Method`: nothing is refused; the ranks may have different numbers of chunks."""

    def require_images(self, images: TrainingSet) -> None:
        """See `Method`."""
        labelled_images(images)

    def validation_loss(self, setup: Setup, validation: Dataset) -> None:
        """See `Method`: it is not measured."""

    def train(self, setup: Setup, phases: Phases) -> None:
        """See `Method`."""
        settings = self.params.train.listwise
        epochs = settings.epochs or self.params.train.epochs
        state = phases.run("all", ListwiseTrainer(setup, settings), epochs=epochs)
        setup.model.load_state_dict(state.weights)


class Classification:
    """Training by a classifier, then also by hard local negatives (`train.classification`).

    A model with an attention module trains it alone in the second phase, with a frozen trunk. The first phase then
    leaves the module as it is.
    """

    memory_key = "train.classification.batch_size"

    def __init__(self, params: Params) -> None:
        self.params = params
        self.settings = params.train.classification
        self.attends = params.model.second_phase == "attention"
        self.fine_epochs = 0 if params.model.second_phase == "none" else self.settings.fine_epochs

    def require_even_shares(self, ranks: int) -> None:
        """See `Method`: each rank takes the same number of images, in the second phase of tuples, of a batch."""
        key, size = "train.classification.batch_size", self.settings.batch_size
        require_multiple(key, size, ranks)
        if self.fine_epochs and not self.attends and max(1, size // TUPLE) % ranks:
            _refuse_share(key, f"{size} in tuples of {TUPLE}", ranks)

    def require_images(self, images: TrainingSet) -> None:
        """See `Method`."""
        labelled_images(images)

    def validation_loss(self, setup: Setup, validation: Dataset) -> None:
        """See `Method`: it is not measured."""

    def train(self, setup: Setup, phases: Phases) -> None:
        """See `Method`: the second phase starts from the best weights of the first."""
        settings, coarse = self.settings, self.settings.epochs or self.params.train.epochs
        images, classes = labelled_images(setup.images)
        sync_batchnorm(setup.model)
        head = ClassifierHead(setup.model, int(classes.max()) + 1, self.params.seed, settings)
        self._train_attention(setup.model, trained=False)
        trainer = ClassificationTrainer(setup, settings, head, images, classes, coarse)
        first = phases.run("coarse", trainer, epochs=coarse)
        head.load_state_dict(first.weights)
        fine = self.fine_epochs
        if fine:
            if self.attends:
                setup.model.freeze(0)
            self._train_attention(setup.model, trained=True)
            trainer = ClassificationTrainer(
                setup, settings, head, images, classes, fine, fine=not self.attends, attends=self.attends
            )
            second = phases.run("fine", trainer, epochs=fine, start_score=first.best_score)
            head.load_state_dict(second.weights)

    def _train_attention(self, model: Model, *, trained: bool) -> None:
        """Whether the attention module of a model that has one is trained."""
        if self.attends:
            for parameter in model.parts()["attention"]:
                parameter.requires_grad_(trained)


def require_multiple(key: str, size: int, ranks: int) -> None:
    """Refuse a batch size that is no multiple of the number of ranks.

    Raises:
        ParamsError: it is not; the message names the key.
    """
    if size % ranks:
        _refuse_share(key, str(size), ranks)


def _refuse_share(key: str, value: str, ranks: int) -> None:
    raise ParamsError(f"{key}: {value} cannot be shared evenly by {ranks} ranks; give a multiple")
