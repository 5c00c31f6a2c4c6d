"""Learning the whitening of a model from photos."""

from collections.abc import Iterator, Sequence

import torch

from lrcr.config.model import WhiteningParams
from lrcr.data.dataset import Photo
from lrcr.features.extraction import sample_photos
from lrcr.models.model import Model
from lrcr.models.whitening import Array
from lrcr.progress import SILENT, Progress
from lrcr.runtime import distributed
from lrcr.training.maps import Maps


def learn_whitening(
    model: Model, maps: Maps, photos: Sequence[Photo], settings: WhiteningParams, seed: int, progress: Progress = SILENT
) -> None:
    """Learn the whitening on one rank and send it to the others; see `learn_whitening_alone`."""
    if distributed.rank() == 0:
        learn_whitening_alone(model, maps, photos, settings, seed, progress)
    if model.whitening_layer is not None:
        distributed.broadcast_module(model.whitening_layer)


def learn_whitening_alone(
    model: Model, maps: Maps, photos: Sequence[Photo], settings: WhiteningParams, seed: int, progress: Progress = SILENT
) -> None:
    """Learn the whitening of a local model, or a global model's whitening projection, from a sample of photos.

    A local model uses the smoothed features of the strongest locations, a global model the pooled vectors, both at
    scale 1. A model without whitening is not changed. Of several ranks only this one has the result.

    Args:
        model: it is set to evaluation mode.
        maps: the source of the backbone's maps.
        photos: `settings.images` of them are drawn by the seed.

    Raises:
        WeightsError: the photos give fewer features than dimensions.
    """
    layer = model.whitening_layer
    if layer is None:
        return
    model.eval()
    sample = sample_photos(photos, settings.images, seed)

    @torch.no_grad()
    def features() -> Iterator[Array]:
        with progress.task("learn whitening", len(sample)) as task:
            for positions, [batch] in maps.batches(sample):
                for vectors in model.whitening_samples(batch, settings.max_descriptors):
                    yield vectors.cpu().numpy()
                task.advance(len(positions))

    layer.learn(features(), settings.shrinkage)
