"""Rows of a picture of rankings, with the grade of each result, and the choice of the queries to show."""

import numpy as np
import numpy.typing as npt

from lrcr.data.dataset import Dataset
from lrcr.data.ranking import Ranking
from lrcr.report.rankings import Grade, QueryTile, ResultTile
from lrcr.runtime.seeds import generator


def grade_images(dataset: Dataset, query: int) -> dict[int, Grade]:
    """Image id → grade, of the images that have a grade for the query; all other images are wrong."""
    graded = dataset.relevance[dataset.relevance["query"] == query]
    return dict(zip(graded["image"].tolist(), graded["grade"].tolist(), strict=True))


def choose_extremes(ap: npt.NDArray[np.float64], count: int, seed: int) -> list[int]:
    """At most `count` queries: those with the highest and the lowest AP, then others that are drawn by the seed.

    Args:
        ap: of each query, of shape (Q,); NaN without a positive.
    """
    known = np.flatnonzero(~np.isnan(ap))
    extremes = [int(known[ap[known].argmax()]), int(known[ap[known].argmin()])] if len(known) else []
    drawn = generator(seed, "report queries").permutation(len(ap)).tolist()
    return list(dict.fromkeys([*extremes, *drawn]))[:count]


def choose_contrasts(ap_a: npt.NDArray[np.float64], ap_b: npt.NDArray[np.float64], count: int) -> list[int]:
    """The `count` queries whose AP differs most between two rankings, in ascending order.

    Args:
        ap_a, ap_b: of each query, of shape (Q,); queries with NaN are chosen last.
    """
    difference = np.nan_to_num(np.abs(ap_a - ap_b), nan=-1.0)
    return sorted(np.argsort(-difference, kind="stable")[:count].tolist())


def make_row(
    dataset: Dataset, ranking: Ranking, query: int, top: int, ap: float, method: str = "query"
) -> tuple[QueryTile, list[ResultTile]]:
    """One query and its first results, for `lrcr.report.rankings.draw_rankings`.

    Args:
        top: number of results.
        ap: of the query, in percent; NaN without a positive.
        method: name of the method that made the ranking.
    """
    photo, path = dataset.query_photos()[query], dataset.queries["path"][query]
    grades, names = grade_images(dataset, query), dataset.images["path"]
    results = [
        ResultTile(dataset.photo(int(image)).path, names[image], float(score), grades.get(int(image), "wrong"))
        for image, score in zip(*(values[:top] for values in ranking.of_query(query)), strict=True)
    ]
    note = "" if np.isnan(ap) else f"AP {ap:.1f}"
    return QueryTile(photo.path, path, photo.box, method, note), results
