"""Query expansion and database-side augmentation: vectors of similar images are added to a vector.

The expanded vector is v + Σ s^α x over the most similar images x, L2-normalised; s is their similarity to v, and only
s > 0 counts. With v the query and α = 0 this is average query expansion (Chum et al., ICCV 2007), with α > 0 α-weighted
query expansion (Radenović et al., TPAMI 2019); with v an image of the database it is database-side augmentation
(Turcot and Lowe, 2009; Arandjelović and Zisserman, CVPR 2012).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lrcr.config.rerank import ExpansionParams
from lrcr.data.ranking import Ranking
from lrcr.features.store import Descriptors
from lrcr.retrieval.backend import OpenIndex
from lrcr.retrieval.flat.vectors import Vectors, normalise
from lrcr.retrieval.rerank.reranker import rank_by

_AT_ONCE = 1024  # images of the database whose neighbours are searched at a time


@dataclass(frozen=True)
class Expansion:
    """Ranks again by expanded queries; see `lrcr.retrieval.rerank.reranker.Reranker`.

    Args:
        index: of global vectors.
        params: of the step.
    """

    index: OpenIndex
    params: ExpansionParams

    def rerank(self, queries: Descriptors, ranking: Ranking) -> Ranking:
        """Score the images of each query by the expanded query; raises as `Reranker.rerank`."""
        vectors, alpha = self._vectors, self.params.alpha
        images, scores = [], []
        for query, vector in enumerate(self.index.prepare(queries)):
            found = ranking.of_query(query)[0]
            first = vectors[found[: self.params.images]]
            order, score = rank_by(found, vectors[found] @ expand(vector, first, first @ vector, alpha))
            images.append(order)
            scores.append(score)
        return Ranking.from_queries(images, scores)

    @cached_property
    def _vectors(self) -> Vectors:
        """Of the database, of shape (images, D); augmented by their neighbours if there are any to add."""
        vectors, count = self.index.vectors(), min(self.params.neighbours + 1, self.index.images)
        if count < 2:
            return vectors
        augmented = np.empty_like(vectors)
        for start in range(0, len(vectors), _AT_ONCE):
            part = vectors[start : start + _AT_ONCE]
            nearest = self.index.rank(part, count)
            for row, vector in enumerate(part):
                images, scores = nearest.of_query(row)
                others = images != start + row
                augmented[start + row] = expand(
                    vector, vectors[images[others]][: count - 1], scores[others][: count - 1], self.params.alpha
                )
        return augmented


def expand(vector: Vectors, others: Vectors, similarity: Vectors, alpha: float) -> Vectors:
    """Add other vectors to a vector, weighted by their similarity to it, and normalise.

    Args:
        vector: of shape (D,).
        others: of shape (n, D).
        similarity: of `others` to `vector`, of shape (n,).
        alpha: exponent of the weights, ≥ 0.

    Returns:
        A unit vector of shape (D,).

    Example:
        >>> expand(np.array([1, 0], np.float32), np.array([[0.6, 0.8]], np.float32), np.array([0.6], np.float32), 0)
        array([0.8944272, 0.4472136], dtype=float32)
    """
    weights = np.where(similarity > 0, np.maximum(similarity, 0) ** alpha, 0).astype(np.float32)
    return normalise(vector + weights @ others)
