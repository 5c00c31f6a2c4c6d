"""Rankings of a dataset's queries as rows of a picture, each result with its grade."""

from lrcr.datasets.dataset import Dataset
from lrcr.ranking import Ranking
from lrcr.report.rankings import Grade, QueryTile, ResultTile


def grade_images(dataset: Dataset, query: int) -> dict[int, Grade]:
    """Image id → grade of every image that has one for the query; the others are wrong."""
    own = dataset.relevance[dataset.relevance["query"] == query]
    return dict(zip(own["image"].tolist(), own["grade"].tolist(), strict=True))


def make_row(
    dataset: Dataset, ranking: Ranking, query: int, top: int, note: str = ""
) -> tuple[QueryTile, list[ResultTile]]:
    """One query and its first results, for `lrcr.report.rankings.draw_rankings`.

    Args:
        top: how many results.
        note: stands before the query's name.
    """
    photo, path = dataset.query_photos()[query], dataset.queries["path"][query]
    grades, names = grade_images(dataset, query), dataset.images["path"]
    results = [
        ResultTile(dataset.root / names[image], names[image], float(score), grades.get(int(image), "wrong"))
        for image, score in zip(*(values[:top] for values in ranking.of_query(query)), strict=True)
    ]
    return QueryTile(photo.path, f"{note}{path}", photo.box), results
