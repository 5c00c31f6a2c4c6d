"""The interface of a step of re-ranking, and what the steps share."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from lrcr.data.ranking import Ranking
from lrcr.features.store import Descriptors
from lrcr.retrieval.backend import OpenIndex

Scores = npt.NDArray[np.floating[Any]]
Images = npt.NDArray[np.int64]


class Reranker(Protocol):
    """A step that ranks the results of each query again."""

    def rerank(self, queries: Descriptors, ranking: Ranking) -> Ranking:
        """Rank again: each query keeps its images; their order and scores change.

        Args:
            queries: the descriptors of the queries 0, 1, 2, …, extracted by the index's model.
            ranking: of these queries; an image that may not take part is removed before.

        Raises:
            ArtifactError: the descriptors do not fit the index, or a file of the index is missing or damaged.
        """
        ...


def rerank_in_steps(steps: Sequence[Reranker], queries: Descriptors, ranking: Ranking) -> Ranking:
    """The ranking after all steps, in their order."""
    for step in steps:
        ranking = step.rerank(queries, ranking)
    return ranking


def rank_by(images: Images, scores: Scores) -> tuple[Images, npt.NDArray[np.float32]]:
    """Sort images of one query and their scores, both of shape (N,), by descending float32 score; ties by image id."""
    scores = scores.astype(np.float32)
    order = np.lexsort((images, -scores))
    return images[order], scores[order]


def score_images(index: OpenIndex, query: Any, images: Images) -> npt.NDArray[np.float32]:
    """The scores of some images of an index, 0 of those that it does not return.

    Args:
        query: one, prepared by the index.
        images: of shape (n,).
    """
    found, scores = index.rank(query, None).of_query(0)
    known = np.zeros(index.images, np.float32)
    known[found] = scores
    return known[images]


def raise_above(head: Scores, tail: Scores) -> Scores:
    """Add the smallest whole number ≥ 0 to the scores `head`, so that all are above those of `tail`.

    The two may measure different things: `head` belongs to the images that were ranked again, which stay above `tail`.
    """
    if not len(head) or not len(tail):
        return head
    raised: Scores = head + max(0.0, np.floor(tail.max() - head.min()) + 1)
    return raised
