"""Blends: the score by which images were ranked again is mixed with the score of the index itself.

Both are scaled over the first images of a query, the smallest to 0 and the largest to 1, because they measure different
things: similarities on one side, on the other for example inliers. The score is λ · index + (1 − λ) · given.
"""

from dataclasses import dataclass

import numpy as np

from lrcr.config.rerank import BlendParams
from lrcr.data.ranking import Ranking
from lrcr.features.store import Descriptors
from lrcr.retrieval.backend import OpenIndex
from lrcr.retrieval.rerank.reranker import Scores, raise_above, rank_by, score_images


@dataclass(frozen=True)
class Blend:
    """Mixes the given scores with those of the index; see `lrcr.retrieval.rerank.reranker.Reranker`.

    Args:
        index: of vectors, or of local descriptors.
        params: of the step.
    """

    index: OpenIndex
    params: BlendParams

    def rerank(self, queries: Descriptors, ranking: Ranking) -> Ranking:
        """Mix the scores of the first `top` images of each query; raises as `Reranker.rerank`."""
        top, share, images, scores = self.params.top, self.params.share, [], []
        for query in range(len(queries)):
            found, given = ranking.of_query(query)
            first, rest = found[:top], given[top:]
            own = score_images(self.index, self.index.prepare(queries.take([query])), first)
            mixed = share * scale(own) + (1 - share) * scale(given[:top])
            order, score = rank_by(first, raise_above(mixed, rest))
            images.append(np.append(order, found[top:]))
            scores.append(np.append(score, rest))
        return Ranking.from_queries(images, scores)


def scale(scores: Scores) -> Scores:
    """Scores from 0, the smallest, to 1, the largest; zeros if all are equal.

    Args:
        scores: of shape (n,).

    Example:
        >>> scale(np.array([5.0, 2.0, 3.5]))
        array([1. , 0. , 0.5])
    """
    if not len(scores):
        return scores.astype(np.float64)
    low, reach = float(scores.min()), float(np.ptp(scores))
    scaled: Scores = (scores.astype(np.float64) - low) / (reach or 1.0)
    return scaled
