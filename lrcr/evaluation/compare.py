"""Comparison of two methods: a paired bootstrap over landmarks, and over training seeds if there are several.

The results of queries of the same landmark are correlated, so landmarks are resampled, each with all of its queries. So
are the results of all queries with one seed: seeds are resampled too, independently of landmarks (Owen, "The pigeonhole
bootstrap", Annals of Applied Statistics 2007).
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
    runs: npt.NDArray[np.int64] | None = None,
) -> Difference | None:
    """The mAP of method a minus that of method b, with a percentile bootstrap interval (Efron and Tibshirani, 1993).

    Args:
        ap_a: AP of each query in percent, of shape (Q,); a query that is NaN in `ap_a` or `ap_b` is ignored.
        ap_b: AP of the same queries, of shape (Q,).
        landmarks: the landmark id of each query, of shape (Q,), for example from `query_landmarks`.
        seed: of the draws; equal seeds give equal intervals.
        resamples: number of bootstrap samples.
        level: share of the resampled differences inside the interval, 0–1.
        runs: the training seed with which each query was evaluated, of shape (Q,): the means over the mAPs of the seeds
            are compared, and seeds are resampled too. Two or three seeds show less than the true variation between
            seeds, so the interval is then rather too narrow. None: one seed.

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
    names, landmark = np.unique(landmarks[both], return_inverse=True)
    if len(names) < 2:
        return None
    _, run, counts = np.unique(
        np.zeros(len(difference)) if runs is None else runs[both], return_inverse=True, return_counts=True
    )
    weight, shape = 1 / counts[run], (len(names), len(counts))
    sums, totals = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (landmark, run), difference * weight)
    np.add.at(totals, (landmark, run), weight)
    means = _resampled_means(sums, totals, seed, resamples)
    low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Difference(float(np.average(difference, weights=weight)), float(low), float(high))


def _resampled_means(
    sums: npt.NDArray[np.float64], totals: npt.NDArray[np.float64], seed: int, resamples: int
) -> npt.NDArray[np.float64]:
    """The weighted mean over queries in each bootstrap sample of landmarks and seeds: of shape (resamples,).

    NaN where no drawn landmark has a query with a drawn seed.

    Args:
        sums: the sum of the weighted differences of each landmark's queries with each seed, of shape (landmarks, S).
        totals: the sum of their weights, of shape (landmarks, S).
    """
    landmarks, seeds = sums.shape
    of_landmarks, of_seeds = generator(seed, "compare"), generator(seed, "compare seeds")
    means = np.empty(resamples)
    step = max(1, _BLOCK // sums.size)
    for start in range(0, resamples, step):
        block = slice(start, min(start + step, resamples))
        drawn = of_landmarks.integers(landmarks, size=(block.stop - start, landmarks))
        times = of_seeds.multinomial(seeds, np.full(seeds, 1 / seeds), size=block.stop - start)
        difference, weight = ((of[drawn].sum(axis=1) * times).sum(axis=1) for of in (sums, totals))
        means[block] = np.divide(difference, weight, out=np.full_like(weight, np.nan), where=weight > 0)
    return means
