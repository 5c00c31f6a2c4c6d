"""Diffusion on the graph of nearest neighbours (Iscen et al., CVPR 2017), truncated to the first images of a query.

Two images are joined where each is among the k nearest of the other; the weight is their similarity s, to the power γ.
With A the weights, D their sums by image and S = D^(−1/2) A D^(−1/2), the scores f solve (I − α S) f = y; y is s^γ of
the query and the first images, and 0 elsewhere. So an image is found by what it is joined to, over several steps.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lrcr.config.rerank import DiffusionParams
from lrcr.data.ranking import Ranking
from lrcr.features.store import Descriptors
from lrcr.retrieval.backend import OpenIndex
from lrcr.retrieval.rerank.reranker import raise_above, rank_by

_AT_ONCE = 1024  # images whose neighbours are searched at a time


@dataclass(frozen=True)
class Diffusion:
    """Ranks the first images again by diffusion; see `lrcr.retrieval.rerank.reranker.Reranker`.

    Args:
        index: of global vectors.
        params: of the step.
    """

    index: OpenIndex
    params: DiffusionParams

    def rerank(self, queries: Descriptors, ranking: Ranking) -> Ranking:
        """Rank the first `top` images of each query again; raises as `Reranker.rerank`."""
        params, images, scores = self.params, [], []
        vectors = self.index.vectors()
        for query, vector in enumerate(self.index.prepare(queries)):
            found, given = ranking.of_query(query)
            first, rest = found[: params.top], given[params.top :]
            similarity = vectors[first] @ vectors[first].T
            weights = np.where(self._joined(first), np.maximum(similarity, 0) ** params.gamma, 0)
            start = np.maximum(vectors[first] @ vector, 0) ** params.gamma
            start[params.images :] = 0
            order, score = rank_by(first, raise_above(diffuse(weights, start, params.alpha), rest))
            images.append(np.append(order, found[params.top :]))
            scores.append(np.append(score, rest))
        return Ranking.from_queries(images, scores)

    def _joined(self, images: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which pairs of some images are among each other's nearest, of shape (n, n)."""
        places = np.full(self.index.images, -1)
        places[images] = np.arange(len(images))
        near = np.zeros((len(images), len(images)), bool)
        columns = places[self._neighbours[images]]
        rows = np.broadcast_to(np.arange(len(images))[:, None], columns.shape)
        near[rows[columns >= 0], columns[columns >= 0]] = True
        np.fill_diagonal(near, False)
        return near & near.T

    @cached_property
    def _neighbours(self) -> npt.NDArray[np.int64]:
        """The images nearest to each image of the database, itself among them: of shape (images, k + 1 or fewer)."""
        vectors, count = self.index.vectors(), min(self.params.neighbours + 1, self.index.images)
        starts = range(0, max(1, len(vectors)), _AT_ONCE)
        parts = [self.index.rank(vectors[at : at + _AT_ONCE], count) for at in starts]
        return np.concatenate([part.image for part in parts]).reshape(len(vectors), count)


def diffuse(
    weights: npt.NDArray[np.floating], start: npt.NDArray[np.floating], alpha: float
) -> npt.NDArray[np.float64]:
    """The scores f of (I − α S) f = y, S the weights divided by the roots of their sums on both sides.

    Args:
        weights: symmetric, ≥ 0, of shape (n, n).
        start: y, of shape (n,).
        alpha: ≥ 0, < 1.

    Returns:
        Of shape (n,).

    Example:
        >>> diffuse(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([3.0, 0.0]), 0.5)
        array([4., 2.])
    """
    sums = weights.sum(axis=1, dtype=np.float64)
    scaled = np.divide(1, np.sqrt(sums), out=np.zeros(len(sums)), where=sums > 0)
    matrix = np.eye(len(sums)) - alpha * scaled[:, None] * weights * scaled
    scores: npt.NDArray[np.float64] = np.linalg.solve(matrix, start.astype(np.float64))
    return scores
