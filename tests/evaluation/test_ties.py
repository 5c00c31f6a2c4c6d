"""The expected AP of images of equal score against the mean over all their orders."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.data.ranking import Ranking
from lrcr.evaluation.metrics import evaluate
from lrcr.evaluation.ties import measure_ties

GRADES = ("easy", "hard", "junk")


def relevance(graded: dict[int, str]) -> pd.DataFrame:
    return pd.DataFrame({"query": 0, "image": list(graded), "grade": list(graded.values())})


def by_all_orders(scores: np.ndarray, graded: dict[int, str], setup: str) -> float:
    """The mean AP over all orders of the images that agree with the scores."""
    found = []
    for order in permutations(range(len(scores))):
        sorted_scores = scores[list(order)]
        if (np.diff(sorted_scores) <= 0).all():
            distinct = np.linspace(1, 0.5, len(scores), dtype=np.float32)
            ranking = Ranking.from_queries([np.array(order)], [distinct])
            found.append(evaluate(ranking, relevance(graded), 1).ap[setup][0])
    return float(np.mean(found))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from([0.25, 0.5, 0.75]), min_size=2, max_size=5),
    st.dictionaries(st.integers(0, 6), st.sampled_from(GRADES), min_size=1),
)
def test_the_expected_ap_is_the_mean_over_all_orders(scores, graded):
    scores = np.array(scores, np.float32)
    order = np.lexsort((np.arange(len(scores)), -scores))
    ranking = Ranking.from_queries([order], [scores[order]])
    ties = measure_ties(ranking, relevance(graded))
    setups = {"easy": ("easy",), "medium": ("easy", "hard"), "hard": ("hard",)}
    for setup, positive in setups.items():
        of = {
            grade: {scores[image] for image in range(len(scores)) if kind(graded.get(image), positive) == grade}
            for grade in ("positive", "negative")
        }
        assert (setup in ties) == bool(of["positive"] & of["negative"])
        if setup in ties:
            assert ties[setup].expected_map == pytest.approx(by_all_orders(scores, graded, setup))
            found = [scores[i] for i in range(len(scores)) if kind(graded.get(i), positive) == "positive"]
            assert ties[setup].share == pytest.approx(100 * np.mean([score in of["negative"] for score in found]))


def kind(grade: str | None, positive: tuple[str, ...]) -> str:
    if grade in positive:
        return "positive"
    return "negative" if grade is None else "ignored"


def test_the_means_are_over_all_queries():
    """The first query has no tie, the second two relevant images of which one is tied, the third nothing relevant."""
    ranking = Ranking.from_queries(
        [np.array([0, 1]), np.array([0, 1, 2]), np.array([0])],
        [np.array([0.9, 0.8], np.float32), np.array([0.9, 0.5, 0.5], np.float32), np.array([1], np.float32)],
    )
    table = pd.DataFrame({"query": [0, 1, 1], "image": [0, 0, 1], "grade": ["easy", "easy", "easy"]})
    ties = measure_ties(ranking, table)["medium"]
    assert ties.share == pytest.approx(100 / 3)
    assert ties.expected_map == pytest.approx((100 + 100 * (1 + (1 + (1 / 2 + 2 / 3) / 2) / 2) / 2) / 2)


def test_without_ties_there_is_nothing_to_tell():
    ranking = Ranking.from_queries([np.array([0, 1, 2])], [np.array([0.9, 0.9, 0.1], np.float32)])
    assert measure_ties(ranking, relevance({0: "easy", 1: "easy"})) == {}
    assert measure_ties(ranking, relevance({}).astype({"image": int})) == {}
