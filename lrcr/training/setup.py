"""What all kinds of training work with."""

from dataclasses import dataclass

import torch

from lrcr.models.model import Model
from lrcr.progress import SILENT, Progress
from lrcr.training.maps import Maps
from lrcr.training.tuples import TrainingSet


@dataclass
class Setup:
    """A model, the images that it is trained on, and how.

    Args:
        model: on `device`.
        images: that training may use.
        maps: where the trunk's maps come from; those of a frozen trunk are computed once.
        image_size: longest side of the images in pixels.
        frozen: whether the trunk is not trained.
        weight_decay: of the optimiser.
        seed: of all draws.
    """

    model: Model
    images: TrainingSet
    maps: Maps
    image_size: int
    frozen: bool
    weight_decay: float
    seed: int
    device: torch.device
    progress: Progress = SILENT
