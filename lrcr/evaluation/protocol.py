"""The protocol of Revisited Oxford and Paris (Radenović et al., CVPR 2018): positives of each setup and their ranks.

Easy: easy images are positive; hard and junk are ignored. Medium: easy and hard are positive; junk is ignored.
Hard: hard images are positive; easy and junk are ignored. Ignored images are removed from the ranking; every image
without a grade is a negative.
"""

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
import pandas as pd

from lrcr.data.ranking import Ranking
from lrcr.errors import ArtifactError, DatasetError
from lrcr.runtime.jit import parallel, read_only

NOT_FOUND = int(np.iinfo(np.int64).max)


@dataclass(frozen=True)
class Setup:
    """The grades that are positive and those that are ignored."""

    positive: tuple[str, ...]
    ignored: tuple[str, ...]


SETUPS = {
    "easy": Setup(("easy",), ("hard", "junk")),
    "medium": Setup(("easy", "hard"), ("junk",)),
    "hard": Setup(("hard",), ("easy", "junk")),
}


@dataclass(frozen=True, eq=False)
class Positives:
    """The positives of one setup and their ranks after the ignored images are removed.

    Args:
        query: of each positive, ascending, int64 of shape (P,).
        rank: of each positive, from 1, ascending within each query, int64 of shape (P,); `NOT_FOUND` if not returned.
    """

    query: npt.NDArray[np.int64]
    rank: npt.NDArray[np.int64]


def rank_graded_images(ranking: Ranking, relevance: pd.DataFrame, queries: int) -> pd.DataFrame:
    """Find the rank of each graded image.

    Args:
        ranking: of any subset of the queries, complete or the top k.
        relevance: columns `query`, `image`, `grade` of G rows, as in `lrcr.data.dataset.Dataset`.
        queries: number of queries of the dataset.

    Returns:
        The G rows with a column `rank` (from 1, ignored images included; `NOT_FOUND` if not returned), sorted by query
        and rank.

    Raises:
        ArtifactError: the ranking has a query that does not exist.
        DatasetError: the relevance has a query that does not exist, or grades an image twice for one query.
    """
    _check(ranking, relevance, queries)
    table = relevance[["query", "image", "grade"]].sort_values("query", kind="stable", ignore_index=True)
    wanted = table["image"].to_numpy(np.int64)
    rank = np.full(len(table), NOT_FOUND)
    _find(
        read_only(ranking.image),
        _offsets(ranking.query, queries),
        wanted,
        _offsets(table["query"].to_numpy(np.int64), queries),
        int(wanted.max(initial=-1)) + 1,
        numba.get_num_threads(),
        rank,
    )
    return table.assign(rank=rank).sort_values(["query", "rank", "image"], ignore_index=True)


def select_positives(ranked: pd.DataFrame, setup: Setup) -> Positives:
    """Remove the ignored images from the ranking and select the positives of one setup.

    Args:
        ranked: the result of `rank_graded_images`.
        setup: one of `SETUPS`.
    """
    ignored_so_far = ranked["grade"].isin(setup.ignored).groupby(ranked["query"]).cumsum()
    rank = ranked["rank"].where(ranked["rank"] == NOT_FOUND, ranked["rank"] - ignored_so_far)
    positive = ranked["grade"].isin(setup.positive)
    return Positives(ranked.loc[positive, "query"].to_numpy(np.int64), rank[positive].to_numpy(np.int64))


def _check(ranking: Ranking, relevance: pd.DataFrame, queries: int) -> None:
    if len(ranking) and ranking.query[-1] >= queries:
        raise ArtifactError(f"ranking: query {ranking.query[-1]}, but there are {queries} queries; search again")
    wrong = relevance[(relevance["query"] < 0) | (relevance["query"] >= queries) | (relevance["image"] < 0)]
    if len(wrong):
        query, image = wrong.iloc[0][["query", "image"]]
        raise DatasetError(f"relevance: query {query}, image {image} does not exist; make the dataset again")
    twice = relevance[relevance.duplicated(["query", "image"])]
    if len(twice):
        query, image = twice.iloc[0][["query", "image"]]
        raise DatasetError(f"relevance: query {query} grades image {image} twice; keep one grade")


def _offsets(query: npt.NDArray[np.int64], queries: int) -> npt.NDArray[np.int64]:
    """The bounds of each query's rows in an ascending column: query q has the rows `offsets[q]:offsets[q + 1]`."""
    return np.searchsorted(query, np.arange(queries + 1))


@parallel
def _find(
    image: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    wanted: npt.NDArray[np.int64],
    wanted_offsets: npt.NDArray[np.int64],
    ids: int,
    lanes: int,
    rank: npt.NDArray[np.int64],
) -> None:
    """Write the rank of each wanted image into `rank`, of shape (G,); all wanted ids are below `ids`.

    Each lane processes every `lanes`-th query. Every returned image needs a look-up of its flag, of one byte; only few
    need their row as well. So flags and rows are separate arrays.
    """
    for lane in numba.prange(lanes):
        is_wanted, row_of = np.zeros(ids, np.bool_), np.empty(ids, np.int64)
        for query in range(lane, len(offsets) - 1, lanes):
            for row in range(wanted_offsets[query], wanted_offsets[query + 1]):
                is_wanted[wanted[row]] = True
                row_of[wanted[row]] = row
            for place in range(offsets[query], offsets[query + 1]):
                if image[place] < ids and is_wanted[image[place]]:
                    rank[row_of[image[place]]] = place - offsets[query] + 1
            for row in range(wanted_offsets[query], wanted_offsets[query + 1]):
                is_wanted[wanted[row]] = False
