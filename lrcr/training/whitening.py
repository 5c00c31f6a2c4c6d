"""Learning a local model's whitening from photos."""

from collections.abc import Iterator, Sequence

import torch

from lrcr.datasets.dataset import Photo
from lrcr.extraction import extract_photos, sample_photos
from lrcr.models.local import LocalModel
from lrcr.models.whitening import Array, fit_whitening
from lrcr.params import Params
from lrcr.progress import Track, silent

_CHUNK = 64


def learn_whitening(
    model: LocalModel, photos: Sequence[Photo], params: Params, device: torch.device, track: Track = silent
) -> None:
    """Learn the whitening from the smoothed features of the strongest locations of a sample of photos, at scale 1.

    Args:
        model: on `device`; left in evaluation mode.
        photos: of which `whitening.images` are drawn by the seed.
        params: `whitening` (images, descriptors, dim, shrinkage), `train.image_size` and `seed` count.

    Raises:
        WeightsError: the photos give fewer features than dimensions.
    """
    model.eval()
    sample = sample_photos(photos, params.whitening.images, params.seed)

    def features() -> Iterator[Array]:
        for first in track(range(0, len(sample), _CHUNK), "learn whitening", None):
            found = extract_photos(
                model,
                sample[first : first + _CHUNK],
                image_size=params.train.image_size,
                scales=[1.0],
                strongest=params.whitening.descriptors,
                device=device,
                whiten=False,
            )
            yield found.descriptors.astype("float32", copy=False)

    model.whitening.assign(*fit_whitening(features(), params.whitening.dim, params.whitening.shrinkage))
