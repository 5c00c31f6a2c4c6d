"""Comparison of two methods: a paired bootstrap over landmarks (Efron and Tibshirani, 1993).

The results of queries of the same landmark are correlated, so landmarks are resampled, each with all of its queries.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lrcr.data.dataset import Dataset
from lrcr.errors import ArtifactError
from lrcr.evaluation.per_query import landmark_ids, landmark_names
from lrcr.runtime.seeds import generator

_BLOCK = 2**22  # draws that are in memory at the same time


@dataclass(frozen=True)
class Difference:
    """The difference of two mAPs, in percentage points, and the bounds of its confidence interval."""

    mean: float
    low: float
    high: float


def query_landmarks(dataset: Dataset) -> npt.NDArray[np.int64]:
    """The id of each query's landmark, int64 of shape (Q,): equal for queries whose images have the same label.

    A query that is not in the database, or whose image has no label, counts as a separate landmark.
    """
    return landmark_ids(landmark_names(dataset))


def compare(
    ap_a: npt.NDArray[np.float64],
    ap_b: npt.NDArray[np.float64],
    landmarks: npt.NDArray[np.int64],
    *,
    seed: int,
    resamples: int = 10000,
    level: float = 0.95,
    weights: npt.NDArray[np.float64] | None = None,
) -> Difference | None:
    """The mAP of method a minus that of method b, with a percentile bootstrap interval (Efron and Tibshirani, 1993).

    Args:
        ap_a: AP of each query in percent, of shape (Q,); a query that is NaN in `ap_a` or `ap_b` is ignored.
        ap_b: AP of the same queries, of shape (Q,).
        landmarks: the landmark id of each query, of shape (Q,), for example from `query_landmarks`.
        seed: of the draws; equal seeds give equal intervals.
        resamples: number of bootstrap samples.
        level: share of the resampled differences inside the interval, 0–1.
        weights: of the queries in all means, of shape (Q,), positive; None: equal weights.

    Returns:
        None if fewer than two landmarks remain: the variation between landmarks is then unknown.

    Raises:
        ArtifactError: the arrays differ in length.

    Example:
        >>> import numpy as np
        >>> ap_a, ap_b = np.array([90.0, 80.0, 70.0, 60.0]), np.array([85.0, 70.0, 65.0, 60.0])
        >>> compare(ap_a, ap_b, landmarks=np.array([0, 0, 1, 1]), seed=0)
        Difference(mean=5.0, low=2.5, high=7.5)
    """
    if not len(ap_a) == len(ap_b) == len(landmarks):
        lengths = f"{len(ap_a)} and {len(ap_b)} APs for {len(landmarks)} landmarks"
        raise ArtifactError(f"compare: {lengths}; compare evaluations of the same dataset")
    both = ~np.isnan(ap_a) & ~np.isnan(ap_b)
    difference = ap_a[both] - ap_b[both]
    weight = np.ones(len(difference)) if weights is None else weights[both]
    names, landmark = np.unique(landmarks[both], return_inverse=True)
    if len(names) < 2:
        return None
    sums = np.bincount(landmark, weights=difference * weight).astype(np.float64)
    totals = np.bincount(landmark, weights=weight).astype(np.float64)
    means = _resampled_means(sums, totals, seed, resamples)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Difference(float(np.average(difference, weights=weight)), float(low), float(high))


def _resampled_means(
    sums: npt.NDArray[np.float64], totals: npt.NDArray[np.float64], seed: int, resamples: int
) -> npt.NDArray[np.float64]:
    """The weighted mean over queries in each bootstrap sample of the landmarks: of shape (resamples,).

    Args:
        sums: the sum of the weighted differences of each landmark's queries, of shape (landmarks,).
        totals: the sum of their weights, of shape (landmarks,).
    """
    rng = generator(seed, "compare")
    means = np.empty(resamples)
    step = max(1, _BLOCK // len(sums))
    for start in range(0, resamples, step):
        drawn = rng.integers(len(sums), size=(min(step, resamples - start), len(sums)))
        means[start : start + step] = sums[drawn].sum(axis=1) / totals[drawn].sum(axis=1)
    return means
