import numpy as np
import pytest

from lrcr.data.dataset import open_dataset
from lrcr.data.ranking import Ranking
from lrcr.report.grading import choose_contrasts, choose_extremes, grade_images, make_row


def test_best_and_worst_queries_come_first():
    ap = np.array([np.nan, 20.0, 90.0, 3.0, 3.0, 50.0, 7.0, 8.0])
    chosen = choose_extremes(ap, 6, seed=0)
    assert chosen[:2] == [2, 3]
    assert len(set(chosen)) == 6
    assert chosen == choose_extremes(ap, 6, seed=0) != choose_extremes(ap, 6, seed=1)
    assert choose_extremes(np.array([np.nan]), 6, seed=0) == [0]
    assert sorted(choose_extremes(np.array([5.0, 5.0]), 6, seed=0)) == [0, 1]


def test_queries_that_differ_most():
    a, b = np.array([10.0, 50.0, np.nan, 0.0, 7.0]), np.array([11.0, 20.0, np.nan, 90.0, 7.0])
    assert choose_contrasts(a, b, 2) == [1, 3]
    assert choose_contrasts(a, b, 4) == [0, 1, 3, 4]
    assert choose_contrasts(a, b, 9) == [0, 1, 2, 3, 4]


def test_results_carry_their_grades(landmarks):
    dataset = open_dataset(landmarks)
    own = dataset.relevance[dataset.relevance["query"] == 3]
    assert grade_images(dataset, 3) == dict(zip(own["image"], own["grade"], strict=True))
    junk = int(dataset.queries["image"][3])
    easy = int(own.loc[own["grade"] == "easy", "image"].iloc[0])
    ranking = Ranking(
        query=np.full(3, 3), image=np.array([junk, 15, easy]), score=np.array([0.9, 0.5, 0.25], np.float32)
    )
    query, results = make_row(dataset, ranking, 3, 2, 12.345, "how")
    assert (query.name, query.method, query.note) == (dataset.queries["path"][3], "how", "AP 12.3")
    assert [(tile.grade, tile.score) for tile in results] == [("junk", pytest.approx(0.9)), ("wrong", 0.5)]
    query, results = make_row(dataset, ranking, 3, 9, np.nan)
    assert (query.method, query.note) == ("query", "")
    assert [tile.grade for tile in results] == ["junk", "wrong", "easy"]
    assert make_row(dataset, ranking, 0, 9, 1.0)[1] == []
