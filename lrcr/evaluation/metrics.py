"""Average precision and precision at k in the protocol of Revisited Oxford and Paris; all in percent, 0–100.

The protocol is that of Radenović et al., CVPR 2018 (`lrcr.evaluation.protocol`).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lrcr.data.ranking import Ranking
from lrcr.evaluation.protocol import NOT_FOUND, SETUPS, Positives, rank_graded_images, select_positives

DEPTHS = (1, 5, 10)
PerQuery = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The metrics of each query of one dataset, and their means.

    Args:
        ap: setup (easy, medium, hard) → average precision, of shape (Q,), in percent.
        precision: k → setup → precision at k, of shape (Q,), in percent.

    A query without a positive in a setup has NaN there and is ignored in the means.
    """

    ap: dict[str, PerQuery]
    precision: dict[int, dict[str, PerQuery]]

    @property
    def map(self) -> dict[str, float | None]:
        """Setup → mAP in percent; None if no query has a positive."""
        return {setup: _mean(values) for setup, values in self.ap.items()}

    @property
    def mp(self) -> dict[int, dict[str, float | None]]:
        """k → setup → mP@k in percent; None if no query has a positive."""
        return {k: {setup: _mean(values) for setup, values in setups.items()} for k, setups in self.precision.items()}

    def as_metrics(self) -> dict[str, Any]:
        """The contents of `metrics/<dataset>.json`: `map` and each `mp@k` by setup, and the number of `queries`."""
        depths = {f"mp@{k}": values for k, values in self.mp.items()}
        return {"map": self.map, **depths, "queries": len(self.ap["medium"])}


def evaluate(ranking: Ranking, relevance: pd.DataFrame, queries: int) -> Evaluation:
    """Evaluate a ranking in the three setups of Revisited Oxford and Paris (Radenović et al., CVPR 2018).

    Args:
        ranking: complete or the top k; images that it does not contain count as not found.
        relevance: columns `query`, `image`, `grade`, as in `lrcr.data.dataset.Dataset`.
        queries: Q, number of queries of the dataset.

    Raises:
        ArtifactError: the ranking has a query that does not exist.
        DatasetError: the relevance has a query that does not exist, or grades an image twice for one query.

    Example:
        >>> import numpy as np, pandas as pd
        >>> ranking = Ranking.from_queries([np.array([2, 0, 1])], [np.array([0.9, 0.8, 0.7], np.float32)])
        >>> relevance = pd.DataFrame({"query": [0, 0], "image": [2, 1], "grade": ["easy", "hard"]})
        >>> round(evaluate(ranking, relevance, queries=1).map["medium"], 2)
        79.17
    """
    ranked = rank_graded_images(ranking, relevance, queries)
    positives = {name: select_positives(ranked, setup) for name, setup in SETUPS.items()}
    return Evaluation(
        ap={name: average_precision(found, queries) for name, found in positives.items()},
        precision={k: {name: precision_at(k, found, queries) for name, found in positives.items()} for k in DEPTHS},
    )


def average_precision(positives: Positives, queries: int) -> PerQuery:
    """Area under the precision-recall curve by the trapezoidal rule, as in the reference code of the two benchmarks.

    The j-th of P positives, at rank r, adds 1/P times the mean of two precisions: that just before it, (j − 1)/(r − 1)
    or 1 if r = 1, and that at it, j/r.

    Returns:
        AP of each query in percent, of shape (Q,); NaN without positives.
    """
    count = np.bincount(positives.query, minlength=queries)
    first = np.cumsum(count) - count
    found = positives.rank != NOT_FOUND
    query, rank = positives.query[found], positives.rank[found]
    nth = (np.arange(len(positives.query)) - first[positives.query] + 1)[found]
    before = np.where(rank == 1, 1.0, (nth - 1) / np.maximum(rank - 1, 1))
    area = np.bincount(query, weights=(before + nth / rank) / 2, minlength=queries)
    return 100 * _divide(area, count)


def average_precision_at(k: int, positives: Positives, queries: int) -> PerQuery:
    """AP of the first k results, as Google Landmarks v2 measures it (Weyand et al., CVPR 2020).

    The j-th of P positives, at rank r ≤ k, adds j / r; the sum is divided by min(k, P). So a query with more than k
    positives can also reach 100.

    Returns:
        AP@k of each query in percent, of shape (Q,); NaN without positives.
    """
    count = np.bincount(positives.query, minlength=queries)
    first = np.cumsum(count) - count
    found = positives.rank <= k
    nth = np.arange(len(positives.query)) - first[positives.query] + 1
    precision = nth[found] / positives.rank[found]
    area = np.bincount(positives.query[found], weights=precision, minlength=queries)
    return 100 * _divide(area, np.minimum(count, k))


def mean_average_precision_at(k: int, ranking: Ranking, relevance: pd.DataFrame, queries: int) -> float | None:
    """MAP@k in percent, with easy and hard images as positives; None if no query has a positive.

    See `average_precision_at`.

    Args:
        k: number of results of each query that count.
        ranking: see `evaluate`.
        relevance: the grades.
        queries: their number.
    """
    ranked = rank_graded_images(ranking, relevance, queries)
    return _mean(average_precision_at(k, select_positives(ranked, SETUPS["medium"]), queries))


def precision_at(k: int, positives: Positives, queries: int) -> PerQuery:
    """Precision among the first min(k, rank of the last positive) images, so that few positives do not lower it.

    If a positive was not returned, the rank of the last positive is unknown and the first k images count.

    Returns:
        Precision of each query in percent, of shape (Q,); NaN without positives.
    """
    last = np.zeros(queries, dtype=np.int64)
    np.maximum.at(last, positives.query, positives.rank)
    depth = np.minimum(last, k)
    hits = np.bincount(positives.query[positives.rank <= depth[positives.query]], minlength=queries)
    return 100 * _divide(hits, depth)


def _divide(values: npt.NDArray[Any], counts: npt.NDArray[np.int64]) -> PerQuery:
    quotients = np.full(len(counts), np.nan)
    np.divide(values, counts, out=quotients, where=counts > 0)
    return quotients


def _mean(values: PerQuery) -> float | None:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else None
