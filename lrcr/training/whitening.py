"""Learning the whitening within a model from photos."""

from collections.abc import Iterator, Sequence

import torch

from lrcr.config.model import WhiteningParams
from lrcr.data.dataset import Photo
from lrcr.features.extraction import sample_photos
from lrcr.models.model import Model
from lrcr.models.whitening import Array, fit_whitening
from lrcr.progress import SILENT, Progress
from lrcr.runtime import distributed
from lrcr.training.maps import Maps


def learn_whitening(
    model: Model, maps: Maps, photos: Sequence[Photo], settings: WhiteningParams, seed: int, progress: Progress = SILENT
) -> None:
    """Learn the whitening of a local model, or a global model's projection that is one, from a sample of photos.

    The former from the smoothed features of the strongest locations, the latter from pooled vectors, both at scale 1.
    The first rank learns it for all.

    Args:
        model: left in evaluation mode.
        maps: of the model's trunk.
        photos: of which `settings.images` are drawn by the seed.

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
                for found in model.whitening_samples(batch, settings.max_descriptors):
                    yield found.cpu().numpy()
                task.advance(len(positions))

    if distributed.rank() == 0:
        layer.assign(*fit_whitening(features(), len(layer.bias), settings.shrinkage))
    distributed.broadcast_module(layer)
