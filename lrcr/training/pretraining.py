"""Pretraining of what has no weights, a trunk or the attention of FIRe: as a classifier, before the method."""

from dataclasses import replace

from lrcr.config.labels import ClassificationParams, PretrainParams
from lrcr.data.dataset import Ids
from lrcr.errors import DatasetError
from lrcr.models.factory import build_pretraining_model
from lrcr.runtime.device import explain_out_of_memory
from lrcr.training.batchnorm import sync_batchnorm
from lrcr.training.classification import ClassificationTrainer
from lrcr.training.classifier import ClassifierHead
from lrcr.training.phases import Phases
from lrcr.training.setup import Setup
from lrcr.training.tuples import TrainingSet, labelled_images

_KEY = "train.pretrain"


def pretrain(settings: PretrainParams, setup: Setup, phases: Phases, *, trains_trunk: bool = True) -> None:
    """Train parts of a model with a layer and a classifier, which are dropped at the end.

    The model keeps the weights of the last epoch: no epoch is validated.

    Args:
        settings: at least one epoch.
        setup: of the model, which is not frozen yet.
        trains_trunk: False: the trunk has weights, and only what is above it is trained.

    Raises:
        DatasetError: fewer than two labels have two images.
        OutOfMemoryError: the memory does not suffice.
    """
    images, classes = pretraining_images(setup.images)
    model = build_pretraining_model(setup.model, setup.seed, trains_trunk=trains_trunk)
    sync_batchnorm(model)
    model.backbone.requires_grad_(trains_trunk)
    own = replace(setup, model=model)
    with explain_out_of_memory(f"lower {_KEY}.batch_size or {_KEY}.crop_size"):
        usual = ClassificationParams(**settings.model_dump(), colour_noise=0.0)
        head = ClassifierHead(model, int(classes.max()) + 1, setup.seed, usual)
        trainer = ClassificationTrainer(own, usual, head, images, classes, settings.epochs, key=_KEY)
        phases.run("pretrain", trainer, epochs=settings.epochs, validated=False)
    model.backbone.requires_grad_(True)


def pretraining_images(images: TrainingSet) -> tuple[TrainingSet, Ids]:
    """The images for pretraining and their classes, as `lrcr.training.tuples.labelled_images` gives them.

    Raises:
        DatasetError: fewer than two labels have two images.
    """
    try:
        return labelled_images(images)
    except DatasetError as error:
        raise DatasetError(f"{error}, name backbone.weights, or set {_KEY}.epochs to 0") from error
