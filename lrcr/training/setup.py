"""The inputs that all training methods share."""

from dataclasses import dataclass

import torch

from lrcr.models.model import Model
from lrcr.progress import SILENT, Progress
from lrcr.training.maps import Maps
from lrcr.training.tuples import TrainingSet


@dataclass
class Setup:
    """A model, its training images, and settings that do not depend on the method.

    Args:
        model: on `device`.
        images: the training images.
        maps: the source of the backbone's maps; those of its frozen part are computed once.
        image_size: longest side of the images in pixels.
        weight_decay: of the optimiser.
        seed: of all random draws.
    """

    model: Model
    images: TrainingSet
    maps: Maps
    image_size: int
    weight_decay: float
    seed: int
    device: torch.device
    progress: Progress = SILENT
