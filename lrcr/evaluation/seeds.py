"""Comparison of two methods, each evaluated with one or more seeds: mean mAP over seeds and one paired difference."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from lrcr.errors import ArtifactError
from lrcr.evaluation.compare import Difference, compare
from lrcr.evaluation.per_query import landmark_ids
from lrcr.evaluation.protocol import SETUPS

_SEED = 0  # of the bootstrap: equal inputs give equal intervals


@dataclass(frozen=True)
class Side:
    """One evaluation: its name in messages, and its table (`lrcr.evaluation.per_query`)."""

    name: str
    table: pd.DataFrame


@dataclass(frozen=True)
class Spread:
    """The mean mAP over seeds in percent, and its sample standard deviation; None for a single seed."""

    mean: float
    deviation: float | None


@dataclass(frozen=True)
class Comparison:
    """The comparison of two methods in one setup.

    Args:
        a: the mAP of one method; None if no query has a positive.
        b: that of the other.
        difference: a − b, with equal weights of the seeds; None with fewer than two landmarks.
        queries: number of queries with a positive, summed over the seeds.
        landmarks: number of landmarks of these queries.
    """

    a: Spread | None
    b: Spread | None
    difference: Difference | None
    queries: int
    landmarks: int


def compare_seeds(a: Sequence[Side], b: Sequence[Side], setup: str) -> Comparison:
    """Compare two methods, paired by position: `a[i]` and `b[i]` were evaluated with the i-th seed.

    The bootstrap draws landmarks, each with all of its queries, and seeds. Landmarks of the same name count as one,
    even if the seeds generate different data; this can only widen the interval.

    Args:
        a: evaluations of one method, at least one.
        b: those of the other, as many, with the same seeds in the same order.
        setup: easy, medium or hard.

    Raises:
        ArtifactError: the numbers of evaluations differ, or the queries of a pair differ.
    """
    _check_pairs(a, b)
    ap_a, ap_b = ([side.table[setup].to_numpy(np.float64) for side in sides] for sides in (a, b))
    landmarks = landmark_ids(pd.concat([side.table[["query", "landmark"]] for side in a], ignore_index=True))
    known = ~np.isnan(np.concatenate(ap_a))
    runs = np.repeat(np.arange(len(ap_a)), [len(ap) for ap in ap_a])
    difference = compare(np.concatenate(ap_a), np.concatenate(ap_b), landmarks, seed=_SEED, runs=runs)
    return Comparison(_spread(ap_a), _spread(ap_b), difference, int(known.sum()), len(np.unique(landmarks[known])))


def _spread(ap: Sequence[npt.NDArray[np.float64]]) -> Spread | None:
    maps = [float(np.nanmean(values)) for values in ap if not np.isnan(values).all()]
    if not maps:
        return None
    return Spread(float(np.mean(maps)), float(np.std(maps, ddof=1)) if len(maps) > 1 else None)


def _check_pairs(a: Sequence[Side], b: Sequence[Side]) -> None:
    if len(a) != len(b):
        raise ArtifactError(f"compare: {len(a)} evaluations against {len(b)}; give each seed on both sides")
    if not a:
        raise ArtifactError("compare: no evaluations; give at least one on each side")
    for one, other in zip(a, b, strict=True):
        _check_pair(one, other)


def _check_pair(a: Side, b: Side) -> None:
    """Refuse evaluations of different queries, or with a different ground truth."""
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
