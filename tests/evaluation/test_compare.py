from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lrcr.data.dataset import Dataset, empty_table
from lrcr.errors import ArtifactError
from lrcr.evaluation import compare as module
from lrcr.evaluation.compare import Difference, compare, query_landmarks


def simulate(rng, landmarks=40, true=2.0, own=6.0, shared=4.0):
    """APs of two methods whose expected difference is `true`, correlated within landmarks of 1–5 queries."""
    landmark = np.repeat(np.arange(landmarks), rng.integers(1, 6, landmarks))
    base = rng.uniform(20, 90, len(landmark))
    shift = true + shared * rng.standard_normal(landmarks)[landmark] + own * rng.standard_normal(len(landmark))
    return base + shift, base, landmark


def test_interval_covers_the_true_difference_about_as_often_as_it_says():
    rng = np.random.default_rng(5)
    trials = 300
    covered = 0
    for seed in range(trials):
        difference = compare(*simulate(rng), seed=seed, resamples=400, level=0.9)
        covered += difference.low <= 2.0 <= difference.high
    assert 0.83 < covered / trials < 0.95


def test_resampling_queries_alone_would_claim_too_much():
    a, b, landmark = simulate(np.random.default_rng(1), own=1, shared=10)
    clustered = compare(a, b, landmark, seed=0)
    alone = compare(a, b, np.arange(len(a)), seed=0)
    assert clustered.high - clustered.low > 1.3 * (alone.high - alone.low)


@pytest.mark.parametrize("true", [2, 40])
def test_equals_the_slow_definition(true):
    a, b, landmark = simulate(np.random.default_rng(2), landmarks=12, true=true)
    difference = compare(a, b, landmark, seed=3, resamples=4000)
    rng = np.random.default_rng(0)
    means = []
    for _ in range(4000):
        queries = np.concatenate([np.flatnonzero(landmark == one) for one in rng.integers(12, size=12)])
        means.append((a[queries] - b[queries]).mean())
    assert difference.mean == pytest.approx((a - b).mean())
    width = np.ptp(np.quantile(means, [0.025, 0.975]))
    assert [difference.low, difference.high] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.06 * width)


def test_a_method_does_not_differ_from_itself():
    a, _, landmark = simulate(np.random.default_rng(0))
    assert compare(a, a, landmark, seed=0) == Difference(0, 0, 0)


def test_changing_sides_changes_the_sign():
    a, b, landmark = simulate(np.random.default_rng(0))
    forth, back = compare(a, b, landmark, seed=4), compare(b, a, landmark, seed=4)
    assert [back.mean, back.low, back.high] == pytest.approx([-forth.mean, -forth.high, -forth.low])


def test_seed_decides_the_interval():
    case = simulate(np.random.default_rng(0))
    assert compare(*case, seed=4) == compare(*case, seed=4)
    assert compare(*case, seed=4) != compare(*case, seed=5)


def test_names_of_landmarks_do_not_matter():
    a, b, landmark = simulate(np.random.default_rng(0))
    assert compare(a, b, landmark, seed=0) == compare(a, b, 10 * landmark + 7, seed=0)


def test_many_landmarks_are_drawn_in_blocks(monkeypatch):
    case = simulate(np.random.default_rng(0))
    whole = compare(*case, seed=0, resamples=100)
    monkeypatch.setattr(module, "_BLOCK", 7 * 40)
    assert compare(*case, seed=0, resamples=100) == whole


def test_queries_that_lack_an_ap_are_left_out_of_both():
    a, b, landmark = simulate(np.random.default_rng(0))
    kept = np.ones(len(a), dtype=bool)
    kept[[0, 5]] = False
    expected = compare(a[kept], b[kept], landmark[kept], seed=0)
    a[0], b[5] = np.nan, np.nan
    assert compare(a, b, landmark, seed=0) == expected


def test_seeds_are_drawn_too():
    landmark = np.arange(50)
    a = 50 + np.random.default_rng(0).normal(0, 1, 50)
    ap_a, ap_b = np.concatenate([a + 2, a - 2]), np.concatenate([a, a])
    difference = compare(ap_a, ap_b, np.tile(landmark, 2), seed=0, runs=np.repeat([0, 1], 50))
    assert [difference.mean, difference.low, difference.high] == pytest.approx([0, -2, 2])


def test_seeds_with_equal_results_give_the_interval_of_one():
    a, b, landmark = simulate(np.random.default_rng(0))
    twice = compare(*(np.tile(of, 2) for of in (a, b, landmark)), seed=0, runs=np.repeat([3, 7], len(a)))
    assert vars(twice) == pytest.approx(vars(compare(a, b, landmark, seed=0)))


def test_seeds_have_equal_weights():
    difference = compare(
        np.array([10.0, 10, 10, 40]), np.zeros(4), np.array([0, 1, 2, 0]), seed=0, runs=np.array([0, 0, 0, 1])
    )
    assert (difference.mean, difference.low, difference.high) == (25, 10, 40)


def test_one_landmark_gives_no_interval():
    assert compare(np.array([3.0, 4, np.nan]), np.zeros(3), np.array([1, 1, 2]), seed=0) is None
    assert compare(np.empty(0), np.empty(0), np.empty(0, np.int64), seed=0) is None


def test_evaluations_of_different_datasets():
    message = "compare: 3 and 2 APs for 3 landmarks; compare evaluations of the same dataset"
    with pytest.raises(ArtifactError, match=message):
        compare(np.zeros(3), np.zeros(2), np.arange(3), seed=0)


def test_landmarks_of_queries():
    images = empty_table("images").reindex(range(4)).assign(image=range(4), label=["b", "a", None, "b"])
    queries = (
        empty_table("queries")
        .reindex(range(6))
        .assign(query=range(6), image=pd.array([3, 1, 2, None, 0, None], "Int64"))
    )
    tables = {"relevance": empty_table("relevance"), "pairs": empty_table("pairs")}
    dataset = Dataset("tiny", Path(), True, "", images=images, queries=queries, **tables)
    landmarks = query_landmarks(dataset)
    assert landmarks.dtype == np.int64
    assert landmarks[0] == landmarks[4]
    assert len(set(landmarks)) == 5
