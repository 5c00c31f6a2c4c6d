import numpy as np
import pandas as pd
import pytest

from lrcr.data.ranking import Ranking
from lrcr.errors import ArtifactError, DatasetError
from lrcr.evaluation.protocol import NOT_FOUND, SETUPS, rank_graded_images, select_positives


def make_ranking(*images):
    return Ranking.from_queries(
        [np.array(of, np.int64) for of in images], [np.arange(len(of), 0, -1).astype(np.float32) for of in images]
    )


def make_relevance(*rows):
    return pd.DataFrame(rows, columns=["query", "image", "grade"])


RANKING = make_ranking([4, 0, 9, 1, 2], [], [0, 1])
RELEVANCE = make_relevance(
    (2, 1, "hard"), (0, 2, "easy"), (0, 0, "junk"), (0, 9, "hard"), (0, 5, "easy"), (1, 3, "easy"), (0, 4, "easy")
)


def test_each_graded_image_is_found_where_it_stands():
    placed = rank_graded_images(RANKING, RELEVANCE, 4)
    rows = list(placed.itertuples(index=False, name=None))
    assert rows == [
        (0, 4, "easy", 1),
        (0, 0, "junk", 2),
        (0, 9, "hard", 3),
        (0, 2, "easy", 5),
        (0, 5, "easy", NOT_FOUND),
        (1, 3, "easy", NOT_FOUND),
        (2, 1, "hard", 2),
    ]


@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        ("easy", [(0, 1), (0, 3), (0, NOT_FOUND), (1, NOT_FOUND)]),
        ("medium", [(0, 1), (0, 2), (0, 4), (0, NOT_FOUND), (1, NOT_FOUND), (2, 2)]),
        ("hard", [(0, 1), (2, 2)]),
    ],
)
def test_ignored_images_are_taken_out_of_the_ranking(setup, expected):
    positives = select_positives(rank_graded_images(RANKING, RELEVANCE, 4), SETUPS[setup])
    assert list(zip(positives.query.tolist(), positives.rank.tolist(), strict=True)) == expected


def test_nothing_relevant_and_nothing_returned():
    assert len(rank_graded_images(make_ranking(), make_relevance(), 0)) == 0
    assert len(rank_graded_images(make_ranking([1, 2]), make_relevance(), 1)) == 0
    assert rank_graded_images(make_ranking([]), RELEVANCE, 3)["rank"].eq(NOT_FOUND).all()


def test_a_ranking_of_other_queries():
    with pytest.raises(ArtifactError, match="ranking: query 2, but there are 2 queries; search again"):
        rank_graded_images(RANKING, make_relevance((0, 1, "easy")), 2)


@pytest.mark.parametrize("row", [(3, 0, "easy"), (-1, 0, "easy"), (0, -5, "easy")])
def test_relevance_of_what_does_not_exist(row):
    with pytest.raises(DatasetError, match=f"relevance: query {row[0]}, image {row[1]} does not exist"):
        rank_graded_images(RANKING, make_relevance((0, 1, "easy"), row), 3)


def test_an_image_graded_twice():
    with pytest.raises(DatasetError, match="relevance: query 0 grades image 1 twice; keep one grade"):
        rank_graded_images(RANKING, make_relevance((0, 1, "easy"), (1, 1, "hard"), (0, 1, "junk")), 3)
