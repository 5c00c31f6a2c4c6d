"""Evaluation of re-ranked lists: each setup has its own, because what it ignores is removed before the steps see it.

Otherwise an ignored image could expand a query or take a place among those that are ranked again (Radenović et al.,
CVPR 2018).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lrcr.data.ranking import Ranking
from lrcr.evaluation.metrics import DEPTHS, Evaluation, evaluate
from lrcr.evaluation.protocol import SETUPS, Setup
from lrcr.features.store import Descriptors
from lrcr.retrieval.rerank.reranker import Reranker, rerank_in_steps

_IMAGES = 2**32  # more than any image id


@dataclass(frozen=True, eq=False)
class Reranked:
    """The lists of each setup after re-ranking, and their evaluation.

    Args:
        rankings: setup (easy, medium, hard) → its ranking, without the images that it ignores.
        evaluation: of each setup on its own ranking.
    """

    rankings: dict[str, Ranking]
    evaluation: Evaluation


def rerank_setups(
    steps: Sequence[Reranker], queries: Descriptors, ranking: Ranking, relevance: pd.DataFrame
) -> Reranked:
    """Remove what each setup ignores, rank the rest again, and evaluate; without steps the rest stays as it is.

    Args:
        queries: the descriptors of all queries.
        ranking: the first one.
        relevance: columns `query`, `image`, `grade`.
    """
    rankings = {
        name: rerank_in_steps(steps, queries, remove_ignored(ranking, relevance, setup))
        for name, setup in SETUPS.items()
    }
    each = {name: evaluate(found, relevance, len(queries)) for name, found in rankings.items()}
    ap = {name: found.ap[name] for name, found in each.items()}
    precision = {k: {name: found.precision[k][name] for name, found in each.items()} for k in DEPTHS}
    return Reranked(rankings, Evaluation(ap, precision))


def remove_ignored(ranking: Ranking, relevance: pd.DataFrame, setup: Setup) -> Ranking:
    """The ranking without the images that a setup ignores."""
    ignored = relevance[relevance["grade"].isin(setup.ignored)]
    pairs = ignored["query"].to_numpy(np.int64) * _IMAGES + ignored["image"].to_numpy(np.int64)
    return ranking.select(~np.isin(ranking.query * _IMAGES + ranking.image, pairs))
