"""Two methods side by side, each evaluated under one seed or several: mAP ± over seeds, and one paired difference."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from lrcr.errors import ArtifactError
from lrcr.evaluation.compare import Difference, compare
from lrcr.evaluation.per_query import number_landmarks
from lrcr.evaluation.protocol import SETUPS

_SEED = 0  # of the bootstrap: equal inputs give equal intervals


@dataclass(frozen=True)
class Side:
    """One evaluation: what the user calls it, and its table (`lrcr.evaluation.per_query`)."""

    name: str
    table: pd.DataFrame


@dataclass(frozen=True)
class Spread:
    """mAP over seeds in percent, and its sample standard deviation; None for a single seed."""

    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Comparison:
    """Two methods in one setup.

    Args:
        a, b: their mAP; None where no query has a positive.
        difference: a − b, the seeds of equal weight; None with fewer than two landmarks.
        queries: how many have a positive, those of all seeds together.
        landmarks: how many these queries show.
    """

    a: Spread | None
    b: Spread | None
    difference: Difference | None
    queries: int
    landmarks: int


def compare_seeds(a: Sequence[Side], b: Sequence[Side], setup: str) -> Comparison:
    """Compare two methods, paired by position: `a[i]` and `b[i]` were evaluated under the i-th seed.

    A landmark is drawn with all of its queries under all seeds. Landmarks of equal name count as one even where the
    seeds have drawn different data, which can only widen the interval.

    Args:
        a, b: at least one evaluation each.
        setup: easy, medium or hard.

    Raises:
        ArtifactError: the sides differ in number, or a pair in its queries.
    """
    _check_pairs(a, b)
    ap_a, ap_b = ([side.table[setup].to_numpy(np.float64) for side in sides] for sides in (a, b))
    landmarks = number_landmarks(pd.concat([side.table[["query", "landmark"]] for side in a], ignore_index=True))
    known = ~np.isnan(np.concatenate(ap_a))
    difference = compare(np.concatenate(ap_a), np.concatenate(ap_b), landmarks, seed=_SEED, weights=_equal_seeds(ap_a))
    return Comparison(_spread(ap_a), _spread(ap_b), difference, int(known.sum()), len(np.unique(landmarks[known])))


def _equal_seeds(ap: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    """A weight for each query, under which the mean over all is the mean of the seeds' mAPs."""
    counts = [int(np.count_nonzero(~np.isnan(values))) for values in ap]
    return np.repeat([1 / max(1, count) for count in counts], [len(values) for values in ap])


def _spread(ap: Sequence[npt.NDArray[np.float64]]) -> Spread | None:
    maps = [float(np.nanmean(values)) for values in ap if not np.isnan(values).all()]
    if not maps:
        return None
    return Spread(float(np.mean(maps)), float(np.std(maps, ddof=1)) if len(maps) > 1 else None)


def _check_pairs(a: Sequence[Side], b: Sequence[Side]) -> None:
    if len(a) != len(b):
        raise ArtifactError(f"compare: {len(a)} evaluations against {len(b)}; give each seed on both sides")
    for one, other in zip(a, b, strict=True):
        _check_pair(one, other)


def _check_pair(a: Side, b: Side) -> None:
    """Refuse evaluations of different queries, or of the same under another ground truth."""
    where, remedy = f"{a.name} and {b.name}", "compare evaluations of the same dataset"
    if len(a.table) != len(b.table):
        raise ArtifactError(f"{where}: {len(a.table)} queries against {len(b.table)}; {remedy}")
    for column in ("query", "landmark"):
        one, other = a.table[column].astype("string").fillna(""), b.table[column].astype("string").fillna("")
        differs = np.flatnonzero((one != other).to_numpy(bool))
        if len(differs):
            row = int(differs[0])
            raise ArtifactError(f"{where}: row {row}: {column} {one[row]!r} against {other[row]!r}; {remedy}")
    for setup in SETUPS:
        differs = np.flatnonzero(a.table[setup].isna() != b.table[setup].isna())
        if len(differs):
            query = a.table["query"][int(differs[0])]
            raise ArtifactError(f"{where}: query {query} has {setup} positives on one side only; {remedy}")
