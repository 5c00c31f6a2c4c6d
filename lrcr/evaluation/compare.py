"""Whether one method is better than another: paired bootstrap over landmarks (Efron and Tibshirani, 1993).

The queries of one landmark succeed and fail together, so landmarks are resampled, each with all of its queries.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lrcr.datasets.dataset import Dataset
from lrcr.device import generator
from lrcr.errors import ArtifactError

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
    labels = dataset.images["label"].reindex(dataset.queries["image"].to_numpy(float, na_value=-1))
    codes, known = labels.factorize()
    return np.where(codes < 0, len(known) + np.arange(len(codes)), codes).astype(np.int64)


def compare(
    ap_a: npt.NDArray[np.float64],
    ap_b: npt.NDArray[np.float64],
    landmarks: npt.NDArray[np.int64],
    *,
    seed: int,
    resamples: int = 10000,
    level: float = 0.95,
) -> Difference | None:
    """The mAP of a minus that of b, with a percentile bootstrap interval.

    Args:
        ap_a: AP of each query in percent, of shape (Q,); queries that are NaN in either are left out of both.
        ap_b: AP of the same queries, of shape (Q,).
        landmarks: the landmark of each query, of shape (Q,), as from `query_landmarks`.
        seed: of the draws; equal seeds give equal intervals.
        resamples: how many sets of landmarks are drawn.
        level: share of the resampled differences inside the interval.

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
    _, landmark = np.unique(landmarks[both], return_inverse=True)
    counts = np.bincount(landmark)
    if len(counts) < 2:
        return None
    sums = np.zeros(len(counts))
    np.add.at(sums, landmark, difference)
    means = _resampled_means(sums, counts, seed, resamples)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Difference(float(difference.mean()), float(low), float(high))


def _resampled_means(
    sums: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], seed: int, resamples: int
) -> npt.NDArray[np.float64]:
    """Mean over queries in each of `resamples` draws of as many landmarks as there are; both inputs (landmarks,)."""
    rng = generator(seed, "compare")
    means = np.empty(resamples)
    step = max(1, _BLOCK // len(sums))
    for start in range(0, resamples, step):
        drawn = rng.integers(len(sums), size=(min(step, resamples - start), len(sums)))
        means[start : start + step] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return means
