"""Whether one method is better than another: paired bootstrap over landmarks (Efron and Tibshirani, 1993).

The queries of one landmark succeed and fail together, so landmarks are resampled, each with all of its queries.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lrcr.data.dataset import Dataset
from lrcr.errors import ArtifactError
from lrcr.evaluation.per_query import name_landmarks, number_landmarks
from lrcr.runtime.seeds import generator

_BLOCK = 2**22  # draws held in memory at a time


@dataclass(frozen=True)
class Difference:
    """Difference of two mAPs in points (percent), and the ends of its confidence interval."""

    mean: float
    low: float
    high: float


def query_landmarks(dataset: Dataset) -> npt.NDArray[np.int64]:
    """The landmark of each query, int64 of shape (Q,): equal numbers for queries whose images share a label.

    A query outside the database, or whose image has no label, is a landmark of its own.
    """
    return number_landmarks(name_landmarks(dataset))


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
    """The mAP of a minus that of b, with a percentile bootstrap interval.

    Args:
        ap_a: AP of each query in percent, of shape (Q,); queries that are NaN in either are left out of both.
        ap_b: AP of the same queries, of shape (Q,).
        landmarks: the landmark of each query, of shape (Q,), as from `query_landmarks`.
        seed: of the draws; equal seeds give equal intervals.
        resamples: how many sets of landmarks are drawn.
        level: share of the resampled differences inside the interval.
        weights: of the queries in every mean, of shape (Q,), positive; None weighs them alike.

    Returns:
        None where fewer than two landmarks are left: one landmark tells nothing about others.

    Raises:
        ArtifactError: the arrays differ in length.
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
    """Weighted mean over queries in each of `resamples` draws of as many landmarks as there are.

    Args:
        sums: of the weighted differences of each landmark's queries, of shape (landmarks,).
        totals: of their weights, of shape (landmarks,).
    """
    rng = generator(seed, "compare")
    means = np.empty(resamples)
    step = max(1, _BLOCK // len(sums))
    for start in range(0, resamples, step):
        drawn = rng.integers(len(sums), size=(min(step, resamples - start), len(sums)))
        means[start : start + step] = sums[drawn].sum(axis=1) / totals[drawn].sum(axis=1)
    return means
