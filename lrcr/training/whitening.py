"""Learning a local model's whitening from photos."""

from collections.abc import Iterator, Sequence

import torch

from lrcr.datasets.dataset import Photo
from lrcr.extraction import sample_photos
from lrcr.models.local import LocalModel
from lrcr.models.whitening import Array, fit_whitening
from lrcr.params import Params
from lrcr.progress import Track, silent, ticking
from lrcr.training.maps import SCALE_ONE, Maps


def learn_whitening(
    model: LocalModel, maps: Maps, photos: Sequence[Photo], params: Params, track: Track = silent
) -> None:
    """Learn the whitening from the smoothed features of the strongest locations of a sample of photos, at scale 1.

    Args:
        model: left in evaluation mode.
        maps: of the model's trunk.
        photos: of which `whitening.images` are drawn by the seed.
        params: `whitening` (images, descriptors, dim, shrinkage) and `seed` count.

    Raises:
        WeightsError: the photos give fewer features than dimensions.
    """
    model.eval()
    sample = sample_photos(photos, params.whitening.images, params.seed)

    @torch.no_grad()
    def features() -> Iterator[Array]:
        with ticking(track, "learn whitening", len(sample)) as tick:
            for positions, batch in maps.batches(sample):
                for local in model.strongest(batch, SCALE_ONE, params.whitening.descriptors, whiten=False):
                    yield local.descriptors.cpu().numpy()
                for _ in positions:
                    tick()

    model.whitening.assign(*fit_whitening(features(), params.whitening.dim, params.whitening.shrinkage))
