"""SuperGlobal's re-ranking with global vectors only (Shao et al., ICCV 2023), in two passes over the first M images.

First pass: the vector x of each of the M images becomes (x + β Σ s_k x_k) / (1 + β Σ s_k) over its K nearest among
them, s_k their similarity to x; the similarity to the query is measured again. Second pass: the query becomes the
maximum, in each component, of the refined vectors of the K + 1 images that are now first. The score is the mean of the
similarity to the query after the first pass and of the similarity to this maximum.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lrcr.config.rerank import SuperGlobalParams
from lrcr.data.ranking import Ranking
from lrcr.features.store import Descriptors
from lrcr.retrieval.backend import OpenIndex
from lrcr.retrieval.flat.vectors import Vectors
from lrcr.retrieval.rerank.reranker import raise_above, rank_by


@dataclass(frozen=True)
class SuperGlobal:
    """Ranks the first images again; see `lrcr.retrieval.rerank.reranker.Reranker`.

    Args:
        index: of global vectors.
        params: of the step.
    """

    index: OpenIndex
    params: SuperGlobalParams

    def rerank(self, queries: Descriptors, ranking: Ranking) -> Ranking:
        """Rank the first `top` images of each query again; raises as `Reranker.rerank`."""
        params, images, scores = self.params, [], []
        for query, vector in enumerate(self.index.prepare(queries)):
            found, first_scores = ranking.of_query(query)
            first, rest = found[: params.top], first_scores[params.top :]
            refined = refine(self._vectors[first], params.neighbours, params.beta)
            order, score = rank_by(first, raise_above(score_again(vector, refined, params.neighbours), rest))
            images.append(np.append(order, found[params.top :]))
            scores.append(np.append(score, rest))
        return Ranking.from_queries(images, scores)

    @cached_property
    def _vectors(self) -> Vectors:
        return self.index.vectors()


def refine(vectors: Vectors, neighbours: int, beta: float) -> Vectors:
    """The first pass: average each vector with its nearest ones.

    Args:
        vectors: of shape (M, D).
        neighbours: K; of fewer vectors all others are taken.
        beta: weight of a neighbour beside its similarity.

    Returns:
        The refined vectors, of shape (M, D), not normalised.
    """
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, np.inf)  # each vector is the first of its own neighbours
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, : neighbours + 1]
    weights = beta * np.take_along_axis(similarity, nearest, axis=1)
    weights[:, :1] = 1
    refined: Vectors = np.einsum("mk,mkd->md", weights, vectors[nearest]) / weights.sum(axis=1, keepdims=True)
    return refined


def score_again(query: Vectors, refined: Vectors, neighbours: int) -> Vectors:
    """The second pass: scores of the refined vectors.

    Args:
        query: of shape (D,).
        refined: of shape (M, D).
        neighbours: K; the expanded query is the maximum of the K + 1 best.

    Returns:
        Of shape (M,).
    """
    similarity = refined @ query
    best = refined[np.argsort(-similarity, kind="stable")[: neighbours + 1]]
    scores: Vectors = (similarity + refined @ best.max(axis=0, initial=-np.inf)) / 2
    return scores
