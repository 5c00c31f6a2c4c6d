"""Evaluation of 70 complete rankings of 1,006,000 images, compared with the method of revisitop.

revisitop, the code of the benchmarks' authors, scans each ranking for the positives and the junk of each of the three
setups.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.timing import ratio, seconds
from benchmarks.values import Value
from lrcr.data.ranking import Ranking
from lrcr.evaluation.metrics import evaluate
from lrcr.evaluation.protocol import SETUPS

_QUERIES, _IMAGES = 70, 1_006_000
_GRADED = {"easy": 40, "hard": 30, "junk": 50}
_FEW = 3  # queries for the slower method


def run() -> Iterator[Value]:
    """Compare the AP of both methods, then time them on the same rankings."""
    rng = np.random.default_rng(0)
    ranks = np.stack([rng.permutation(_IMAGES) for _ in range(_QUERIES)])
    relevance = _draw_relevance(rng)
    ranking = Ranking(
        query=np.repeat(np.arange(_QUERIES), _IMAGES),
        image=ranks.ravel(),
        score=np.tile(np.linspace(1, 0, _IMAGES, dtype=np.float32), _QUERIES),
    )
    ours = evaluate(ranking, relevance, _QUERIES)
    for setup, values in _compute_map(ranks[:_FEW], relevance).items():
        np.testing.assert_allclose(ours.ap[setup][:_FEW] / 100, values, atol=1e-9)

    def slow() -> None:
        _compute_map(ranks[:_FEW], relevance)

    def fast() -> None:
        evaluate(ranking, relevance, _QUERIES)

    yield Value("evaluation: speed relative to revisitop", ratio(slow, fast, rounds=3) * _QUERIES / _FEW, at_least=20)
    yield Value("evaluation, s", seconds(fast, 5))


def _draw_relevance(rng: np.random.Generator) -> pd.DataFrame:
    grades = np.repeat(list(_GRADED), list(_GRADED.values()))
    images = np.stack([rng.choice(_IMAGES, len(grades), replace=False) for _ in range(_QUERIES)])
    return pd.DataFrame(
        {
            "query": np.repeat(np.arange(_QUERIES), len(grades)),
            "image": images.ravel(),
            "grade": np.tile(grades, _QUERIES),
        }
    )


def _compute_map(ranks: npt.NDArray[np.int64], relevance: pd.DataFrame) -> dict[str, list[float]]:
    """Average precision of each query by setup, computed as in `compute_map` of revisitop."""
    result: dict[str, list[float]] = {}
    for name, setup in SETUPS.items():
        values = []
        for query, ranked in enumerate(ranks):
            graded = relevance[relevance["query"] == query]
            positive, ignored = (
                np.flatnonzero(np.isin(ranked, graded["image"][graded["grade"].isin(grades)].to_numpy()))
                for grades in (setup.positive, setup.ignored)
            )
            values.append(_average_precision(positive - np.searchsorted(ignored, positive)))
        result[name] = values
    return result


def _average_precision(places: npt.NDArray[Any]) -> float:
    """Area under the precision-recall curve by trapezoids; places count from 0."""
    total = 0.0
    for found, place in enumerate(places):
        before = 1.0 if place == 0 else found / place
        total += (before + (found + 1) / (place + 1)) / 2 / len(places)
    return total
