"""Equal scores in a ranking: how many relevant images they concern, and the AP that is expected over their order.

A ranking puts images of equal score in the order of their ids, which says nothing about the method. Where a relevant
image has the score of an irrelevant one, the AP depends on that order; its expectation over random orders does not.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lrcr.data.ranking import Ranking
from lrcr.evaluation.protocol import SETUPS, Setup


@dataclass(frozen=True)
class Ties:
    """Equal scores in one setup.

    Args:
        share: of the relevant images that were returned, in percent, those with the score of an irrelevant image.
        expected_map: mAP in percent, expected over random orders of images of equal score.
    """

    share: float
    expected_map: float


def measure_ties(ranking: Ranking, relevance: pd.DataFrame) -> dict[str, Ties]:
    """Setup → its ties; without the setups in which no relevant image is tied.

    Args:
        ranking: complete or the top k, as in `lrcr.evaluation.metrics.evaluate`. Of a score that is cut at the end of
            the list, only the returned images count.
        relevance: columns `query`, `image`, `grade`.

    Example:
        >>> import numpy as np, pandas as pd
        >>> ranking = Ranking.from_queries([np.array([0, 1])], [np.array([0.5, 0.5], np.float32)])
        >>> relevance = pd.DataFrame({"query": [0], "image": [0], "grade": ["easy"]})
        >>> measure_ties(ranking, relevance)["easy"]
        Ties(share=100.0, expected_map=62.5)
    """
    queries: Any = relevance.groupby("query")
    graded = [(*ranking.of_query(query), rows) for query, rows in queries]
    found = {}
    for name, setup in SETUPS.items():
        rows = [_of_query(images, scores, table, setup) for images, scores, table in graded]
        expected, tied, returned = np.array(rows, np.float64).reshape(-1, 3).T
        if tied.any():
            share = 100 * tied.sum() / returned.sum()
            found[name] = Ties(float(share), float(100 * np.nanmean(expected)))
    return found


def _of_query(
    images: npt.NDArray[np.int64], scores: npt.NDArray[np.float32], graded: pd.DataFrame, setup: Setup
) -> tuple[float, int, int]:
    """Expected AP (0–1, NaN without positives), number of tied positives, number of returned positives."""
    positives = graded.loc[graded["grade"].isin(setup.positive), "image"].to_numpy(np.int64)
    ignored = graded.loc[graded["grade"].isin(setup.ignored), "image"].to_numpy(np.int64)
    kept = ~np.isin(images, ignored)
    positive, scores = np.isin(images[kept], positives), scores[kept]
    if not len(positives):
        return np.nan, 0, 0
    if not positive.any():
        return 0.0, 0, 0
    starts = np.flatnonzero(np.diff(scores, prepend=np.inf))
    size = np.diff(starts, append=len(scores))
    inside = np.add.reduceat(positive.astype(np.int64), starts)
    area = _expected_area(starts, size, inside)
    return float(area / len(positives)), int(inside[inside < size].sum()), int(positive.sum())


def _expected_area(starts: npt.NDArray[np.int64], size: npt.NDArray[np.int64], inside: npt.NDArray[np.int64]) -> float:
    """The expected sum of the trapezoids of `lrcr.evaluation.metrics.average_precision`.

    A rank of a group of n images with m positives holds a positive with probability m / n. Given that, of the i images
    of the group before it, i · (m − 1) / (n − 1) are expected to be positive.

    Args:
        starts: rank before the first image of each group of equal score.
        size: n of each group.
        inside: m of each group.
    """
    groups = np.flatnonzero(inside)
    before = (np.cumsum(inside) - inside)[groups]
    n, m, first = size[groups], inside[groups], starts[groups]
    row = np.repeat(np.arange(len(groups)), n)
    i = np.arange(len(row)) - np.repeat(np.cumsum(n) - n, n)
    rank = first[row] + i + 1
    earlier = before[row] + i * (m[row] - 1) / np.maximum(n[row] - 1, 1)
    at = (earlier + 1) / rank
    prior = np.where(rank == 1, 1.0, earlier / np.maximum(rank - 1, 1))
    return float((m[row] / n[row] * (prior + at) / 2).sum())
