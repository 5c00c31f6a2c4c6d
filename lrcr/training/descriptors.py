"""Descriptors of photos during training, from the maps of the backbone."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lrcr.data.dataset import Photo
from lrcr.features.store import Descriptors, join
from lrcr.models.descriptors import ImageDescriptors
from lrcr.models.model import Model
from lrcr.progress import SILENT, Progress
from lrcr.runtime import distributed
from lrcr.training.maps import Maps


@torch.no_grad()
def describe_globally(model: Model, maps: Maps, photos: Sequence[Photo], progress: Progress = SILENT) -> Tensor:
    """The training descriptor of each photo: unit vectors of shape (photos, D).

    Args:
        model: in evaluation mode.
        progress: one step for each photo.
    """
    vectors = torch.zeros(len(photos), model.dim, device=next(model.parameters()).device)
    for positions, [features] in maps.batches(photos):
        vectors[torch.tensor(positions, device=vectors.device)] = model.embed(features)
        progress.advance(len(positions))
    return vectors


def describe_distributed(model: Model, maps: Maps, photos: Sequence[Photo], progress: Progress = SILENT) -> Tensor:
    """As `describe_globally`, but each rank describes a share; all ranks return all vectors, (photos, D)."""
    share = describe_globally(model, maps, distributed.share(photos), progress)
    vectors = share.new_zeros(len(photos), model.dim)
    vectors[distributed.rank() :: distributed.world_size()] = share
    return distributed.all_reduce_sum(vectors)


@torch.no_grad()
def describe_locally(
    model: Model, maps: Maps, photos: Sequence[Photo], scales: Sequence[float], count: int
) -> Descriptors:
    """The `count` strongest local descriptors of each photo; their positions are fractions of width and height.

    Args:
        model: in evaluation mode.
    """
    found: dict[int, Descriptors] = {}
    for positions, features in maps.batches(photos, scales=scales):
        described = model.describe_maps(features, scales[: len(features)], count)
        found.update(zip(positions, map(_in_memory, described), strict=True))
    return join([found[position] for position in range(len(photos))])


def _in_memory(image: ImageDescriptors) -> Descriptors:
    """The descriptors of one image, off the device."""
    return Descriptors(
        descriptors=image.descriptors.cpu().numpy(),
        strength=image.strength.cpu().numpy(),
        xy=image.position.cpu().numpy(),
        scale=image.scale.cpu().numpy(),
        offsets=np.array([0, len(image.descriptors)], np.int64),
    )
