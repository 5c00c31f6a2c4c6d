import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lrcr.data.ranking import Ranking
from lrcr.datasets.pickles import read_pickle
from lrcr.evaluation.metrics import evaluate, mean_average_precision_at
from lrcr.evaluation.protocol import SETUPS

GRADES = ("easy", "hard", "junk")
compiled = settings(deadline=None, max_examples=50)  # the first example compiles the kernels


def make_ranking(images):
    scores = [np.arange(len(of), 0, -1).astype(np.float32) for of in images]
    return Ranking.from_queries([np.array(of, np.int64) for of in images], scores)


def make_relevance(grades):
    """Relevance from one dict image → grade for each query."""
    rows = [(query, image, grade) for query, of in enumerate(grades) for image, grade in of.items()]
    return pd.DataFrame(rows, columns=["query", "image", "grade"])


def slow_ap(ranked, positive, ignored):
    """The definition: walk down the ranking and add the trapezoid that each positive opens."""
    seen = found = 0
    area = 0.0
    for image in ranked:
        if image in ignored:
            continue
        before = found / seen if seen else 1.0
        seen += 1
        if image in positive:
            found += 1
            area += (before + found / seen) / 2 / len(positive)
    return 100 * area


def slow_precision(k, ranked, positive, ignored):
    """The definition: the first k, or up to the last positive if that comes before."""
    left = [image for image in ranked if image not in ignored]
    if positive <= set(left):
        k = min(k, max(left.index(image) + 1 for image in positive))
    return 100 * sum(image in positive for image in left[:k]) / k


def sets_of(grades, setup):
    positive = {image for image, grade in grades.items() if grade in SETUPS[setup].positive}
    return positive, {image for image, grade in grades.items() if grade in SETUPS[setup].ignored}


@st.composite
def cases(draw, complete=False):
    """A few queries: a permutation of the images (cut short unless complete) and grades for some of them."""
    count = draw(st.integers(1, 20))
    rankings, grades = [], []
    for _ in range(draw(st.integers(1, 4))):
        ranked = draw(st.permutations(range(count)))
        rankings.append(ranked if complete else ranked[: draw(st.integers(0, count))])
        grades.append(draw(st.dictionaries(st.integers(0, count - 1), st.sampled_from(GRADES))))
    return rankings, grades


def evaluate_lists(rankings, grades):
    return evaluate(make_ranking(rankings), make_relevance(grades), len(grades))


@compiled
@given(cases())
def test_equals_the_slow_definition(case):
    evaluation = evaluate_lists(*case)
    for query, (ranked, grades) in enumerate(zip(*case, strict=True)):
        for setup in SETUPS:
            positive, ignored = sets_of(grades, setup)
            ap = slow_ap(ranked, positive, ignored) if positive else np.nan
            np.testing.assert_allclose(evaluation.ap[setup][query], ap, rtol=1e-12)
            for k in (1, 5, 10):
                expected = slow_precision(k, ranked, positive, ignored) if positive else np.nan
                np.testing.assert_allclose(evaluation.precision[k][setup][query], expected, rtol=1e-12)


def test_numbers_computed_by_hand():
    # Query 0, ranked e w j h e w: easy drops j and h → e w e, AP = (1 + 1)/2/2 + (1/2 + 2/3)/2/2 = 19/24.
    # Medium drops j → e w h e: AP = (1 + (1/2 + 2/3)/2 + (2/3 + 3/4)/2) / 3 = 55/72. Hard: w h w → (0 + 1/2)/2 = 1/4.
    # Query 1 has no positive at all; query 2 returns one of two easy images, at rank 2: AP = (0 + 1/2)/2/2 = 1/8.
    rankings = [[10, 11, 12, 13, 14, 15], [10], [11, 10]]
    grades = [{10: "easy", 12: "junk", 13: "hard", 14: "easy"}, {10: "junk"}, {10: "easy", 12: "easy"}]
    evaluation = evaluate_lists(rankings, grades)
    np.testing.assert_allclose(evaluation.ap["easy"], [1900 / 24, np.nan, 12.5])
    np.testing.assert_allclose(evaluation.ap["medium"], [5500 / 72, np.nan, 12.5])
    np.testing.assert_allclose(evaluation.ap["hard"], [25, np.nan, np.nan])
    assert evaluation.map["easy"] == pytest.approx((1900 / 24 + 12.5) / 2)
    assert evaluation.mp[1] == pytest.approx({"easy": 50, "medium": 50, "hard": 0})
    # Query 0 stops at its last positive (rank 3, 4, 2); query 2 misses one, so all five places count.
    assert evaluation.mp[5] == pytest.approx({"easy": (200 / 3 + 20) / 2, "medium": (75 + 20) / 2, "hard": 50})
    assert evaluation.mp[10] == pytest.approx({"easy": (200 / 3 + 10) / 2, "medium": (75 + 10) / 2, "hard": 50})


@compiled
@given(cases(complete=True))
def test_a_perfect_ranking_has_every_measure_at_100(case):
    grades = case[1]
    order = {"easy": 0, "hard": 1, "junk": 2, None: 3}
    perfect = [sorted(ranked, key=lambda image, of=of: order[of.get(image)]) for ranked, of in zip(*case, strict=True)]
    evaluation = evaluate_lists(perfect, grades)
    measures = [evaluation.ap, *evaluation.precision.values()]
    values = np.concatenate([values for measure in measures for values in measure.values()])
    np.testing.assert_allclose(values[~np.isnan(values)], 100)


@compiled
@given(cases(complete=True), st.data())
def test_moving_a_positive_up_never_lowers_ap(case, data):
    (ranked, *_), (grades, *_) = case
    positive = [place for place, image in enumerate(ranked) if place > 0 and grades.get(image) in ("easy", "hard")]
    assume(positive)
    place = data.draw(st.sampled_from(positive))
    target = data.draw(st.integers(0, place - 1))
    better = list(ranked)
    better.insert(target, better.pop(place))
    before, after = (evaluate_lists([of], [grades]).map["medium"] for of in (ranked, better))
    assert after >= before - 1e-9


@compiled
@given(cases(), st.data())
def test_ignored_images_never_matter(case, data):
    rankings, grades = case
    without = [[image for image in ranked if of.get(image) != "junk"] for ranked, of in zip(*case, strict=True)]
    assert evaluate_lists(rankings, grades).as_metrics() == evaluate_lists(without, grades).as_metrics()
    scattered = [data.draw(st.permutations([*ranked, 90, 91])) for ranked in without]
    order = [[image for image in ranked if image < 90] for ranked in scattered]
    with_new = [of | {90: "junk", 91: "junk"} for of in grades]
    assert evaluate_lists(order, grades).as_metrics() == evaluate_lists(scattered, with_new).as_metrics()


@compiled
@given(cases(), st.permutations(range(20)))
def test_the_names_of_images_do_not_matter(case, names):
    rankings, grades = case
    renamed = [[names[image] for image in ranked] for ranked in rankings]
    regraded = [{names[image]: grade for image, grade in of.items()} for of in grades]
    assert evaluate_lists(rankings, grades).as_metrics() == evaluate_lists(renamed, regraded).as_metrics()


@compiled
@given(cases(complete=True), st.integers(10, 20))
def test_the_top_k_decides_precision_at_up_to_k(case, top):
    rankings, grades = case
    grades = [{image: grade for image, grade in of.items() if grade == "easy"} for of in grades]
    cut = [ranked[:top] for ranked in rankings]
    assert evaluate_lists(cut, grades).mp == evaluate_lists(rankings, grades).mp


def test_metrics_are_json_without_nan():
    metrics = evaluate_lists([[1, 2], [2, 1]], [{1: "easy"}, {1: "easy"}]).as_metrics()
    assert json.loads(json.dumps(metrics, allow_nan=False)) == {
        "map": {"easy": 62.5, "medium": 62.5, "hard": None},
        "mp@1": {"easy": 50.0, "medium": 50.0, "hard": None},
        "mp@5": {"easy": 75.0, "medium": 75.0, "hard": None},
        "mp@10": {"easy": 75.0, "medium": 75.0, "hard": None},
        "queries": 2,
    }


def test_a_dataset_without_queries():
    metrics = evaluate_lists([], []).as_metrics()
    assert metrics["queries"] == 0
    assert metrics["map"] == {"easy": None, "medium": None, "hard": None}


@pytest.mark.parametrize("name", ["roxford5k", "rparis6k"])
def test_reference_numbers_at_the_true_sizes(fixtures, test_data, name):
    truth = read_pickle(test_data / "ground_truth" / f"gnd_{name}.pkl")
    graded = truth["gnd"]
    scores = np.random.default_rng(123).standard_normal((len(truth["imlist"]), len(graded)))
    for query, of in enumerate(graded):
        for grade, gain in (("easy", 3), ("hard", 1.5), ("junk", 2)):
            scores[of[grade], query] += gain
    ranking = make_ranking(np.argsort(-scores, axis=0, kind="stable").T)
    relevance = make_relevance([{image: grade for grade in GRADES for image in of[grade]} for of in graded])
    evaluation = evaluate(ranking, relevance, len(graded))
    expected = json.loads((fixtures / "revisited_map.json").read_text())[name]
    for setup in SETUPS:
        ap = 100 * np.array(expected[setup]["ap"], dtype=float)
        np.testing.assert_allclose(evaluation.ap[setup], ap, rtol=1e-12)
        assert evaluation.map[setup] == pytest.approx(100 * expected[setup]["map"], rel=1e-12)
        precisions = [evaluation.mp[k][setup] / 100 for k in (1, 5, 10)]
        np.testing.assert_allclose(precisions, expected[setup]["mp@1,5,10"], rtol=1e-12)


def slow_ap_at(k, ranked, positive, ignored):
    """The definition of Google Landmarks v2: precision at each positive among the first k, over min(k, positives)."""
    left = [image for image in ranked if image not in ignored][:k]
    hits = [sum(image in positive for image in left[: rank + 1]) for rank in range(len(left))]
    area = sum(hits[rank] / (rank + 1) for rank, image in enumerate(left) if image in positive)
    return 100 * area / min(k, len(positive))


@compiled
@given(cases(), st.integers(1, 12))
def test_map_at_k_equals_the_slow_definition(case, k):
    rankings, grades = case
    found = mean_average_precision_at(k, make_ranking(rankings), make_relevance(grades), len(grades))
    sets = [sets_of(of, "medium") for of in grades]
    expected = [slow_ap_at(k, ranked, *of) for ranked, of in zip(rankings, sets, strict=True) if of[0]]
    assert found == (pytest.approx(np.mean(expected)) if expected else None)


def test_map_at_k_can_be_100_with_more_positives_than_k():
    ranking, relevance = make_ranking([range(300)]), make_relevance([dict.fromkeys(range(250), "easy")])
    assert mean_average_precision_at(100, ranking, relevance, 1) == pytest.approx(100)
    assert mean_average_precision_at(100, make_ranking([[5]]), make_relevance([{5: "easy", 7: "easy"}]), 1) == 50
