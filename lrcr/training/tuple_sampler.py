"""The tuples of an epoch: pairs are drawn at random, negatives are mined with the current model."""

import numpy as np
import torch
from torch import Tensor

from lrcr.config.tuples import TuplesParams
from lrcr.data.dataset import Ids, Photo
from lrcr.runtime import distributed
from lrcr.runtime.seeds import generator
from lrcr.training.descriptors import describe_distributed
from lrcr.training.setup import Setup
from lrcr.training.tuples import mine_negatives


class TupleSampler:
    """Draws tuples of query, positive and hard negatives.

    Args:
        settings: `queries_per_epoch`, `negative_pool` and `negatives`.
    """

    def __init__(self, setup: Setup, settings: TuplesParams) -> None:
        self.setup = setup
        self.settings = settings

    def draw(self, epoch: int) -> tuple[Ids, list[Photo], float | None]:
        """The tuples of an epoch, the pool of their negatives, and the mean distance of queries and negatives.

        Returns:
            Image ids of shape (T, 2 + N): query, positive, negatives. The photos of the pool. The mean Euclidean
            distance between the unit vectors of a query and its negatives; None without negatives.

        Raises:
            DatasetError: there are no pairs, or there are too few landmarks for the negatives.
        """
        images, settings = self.setup.images, self.settings
        rng = generator(self.setup.seed, "tuples", epoch)
        pairs = images.draw_pairs(settings.queries_per_epoch, rng)
        pool = np.sort(rng.permutation(len(images.photos))[: settings.negative_pool])
        photos = [images.photos[i] for i in pool]
        if not settings.negatives:
            return pairs, photos, None
        vectors = self._describe(np.concatenate([pairs[:, 0], pool]), epoch)
        queries, candidates = vectors[: len(pairs)], vectors[len(pairs) :]
        similarity = queries @ candidates.T
        negatives = mine_negatives(similarity.cpu().numpy(), pairs[:, 0], pool, images.clusters, settings.negatives)
        chosen = torch.from_numpy(np.searchsorted(pool, negatives)).to(self.setup.device)
        distance = (2 - 2 * similarity.gather(1, chosen)).clamp_min(0).sqrt().mean()
        return np.concatenate([pairs, negatives], axis=1), photos, float(distance)

    def _describe(self, ids: Ids, epoch: int) -> Tensor:
        setup = self.setup
        setup.model.eval()
        unique, inverse = np.unique(ids, return_inverse=True)
        photos = [setup.images.photos[i] for i in unique]
        with setup.progress.task(f"mine negatives of epoch {epoch}", len(distributed.share(photos))) as task:
            vectors = describe_distributed(setup.model, setup.maps, photos, task)
        return vectors[torch.from_numpy(inverse).to(setup.device)]
