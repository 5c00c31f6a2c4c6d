"""Average precision and precision at k under the Revisited Oxford and Paris protocol; all in percent, 0–100."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lrcr.data.ranking import Ranking
from lrcr.evaluation.protocol import NOT_FOUND, SETUPS, Positives, place_relevant, select_positives

DEPTHS = (1, 5, 10)
PerQuery = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a ranking achieves on one dataset, query by query.

    Args:
        ap: setup (easy, medium, hard) → average precision, of shape (Q,), in percent.
        precision: k → setup → precision at k, of shape (Q,), in percent.

    A query without a positive in a setup has NaN there and is left out of the means.
    """

    ap: dict[str, PerQuery]
    precision: dict[int, dict[str, PerQuery]]

    @property
    def map(self) -> dict[str, float | None]:
        """Setup → mAP in percent; None where no query has a positive."""
        return {setup: _mean(values) for setup, values in self.ap.items()}

    @property
    def mp(self) -> dict[int, dict[str, float | None]]:
        """k → setup → mP@k in percent; None where no query has a positive."""
        return {k: {setup: _mean(values) for setup, values in of.items()} for k, of in self.precision.items()}

    def as_metrics(self) -> dict[str, Any]:
        """The layout of `metrics/<dataset>.json`: `map` and each `mp@k` by setup, and the number of `queries`."""
        depths = {f"mp@{k}": values for k, values in self.mp.items()}
        return {"map": self.map, **depths, "queries": len(self.ap["medium"])}


def evaluate(ranking: Ranking, relevance: pd.DataFrame, queries: int) -> Evaluation:
    """Evaluate a ranking in the three setups.

    Args:
        ranking: complete or not; images and queries that it lacks count as not found.
        relevance: columns `query`, `image`, `grade`, as in `lrcr.data.dataset.Dataset`.
        queries: how many queries (Q) the dataset has.

    Raises:
        ArtifactError: the ranking names a query that does not exist.
        DatasetError: the relevance does, or grades an image twice for one query.
    """
    placed = place_relevant(ranking, relevance, queries)
    positives = {name: select_positives(placed, setup) for name, setup in SETUPS.items()}
    return Evaluation(
        ap={name: average_precision(found, queries) for name, found in positives.items()},
        precision={k: {name: precision_at(k, found, queries) for name, found in positives.items()} for k in DEPTHS},
    )


def average_precision(positives: Positives, queries: int) -> PerQuery:
    """Area under the precision-recall curve by trapezoids, as the reference evaluation of the two benchmarks draws it.

    The j-th positive, at rank r, adds 1/P times the mean of the precision just before it, (j − 1)/(r − 1), or 1 at
    r = 1, and the precision at it, j/r.

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

    The sum of the precisions j / r at the positives that are among the first k, the j-th at rank r, over min(k, P): who
    has more than k positives can still reach 100.

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
    """MAP@k in percent (`average_precision_at`), easy and hard images positive; None where no query has a positive.

    Args:
        k: results of each query that count.
        ranking, relevance, queries: as of `evaluate`.
    """
    placed = place_relevant(ranking, relevance, queries)
    return _mean(average_precision_at(k, select_positives(placed, SETUPS["medium"]), queries))


def precision_at(k: int, positives: Positives, queries: int) -> PerQuery:
    """Precision among the first min(k, rank of the last positive) images, so that few positives do not lower it.

    A positive that was not returned stands behind every rank, so there the first k count.

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
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
