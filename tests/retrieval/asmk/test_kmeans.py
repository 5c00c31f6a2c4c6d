from itertools import islice

import numpy as np
import pytest

from lrcr.progress import Progress
from lrcr.retrieval.asmk.assignment import SharedAssignment
from lrcr.retrieval.asmk.codebook import learn_codebook
from lrcr.retrieval.asmk.kmeans import exact_kmeans, means, nearest_in_cells, nearest_of_all, shortlist_kmeans
from lrcr.runtime.processes import ThisMachine


@pytest.fixture
def points():
    """3,000 descriptors in overlapping clumps."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(60, 12)).repeat(50, axis=0) + 0.6 * rng.normal(size=(3000, 12))).astype(np.float32)


def mean_distance(points, centroids):
    return ((points[:, None] - centroids) ** 2).sum(axis=2).min(axis=1).mean()


def last(iterations, number):
    *_, centroids = islice(iterations, number)
    return centroids


def lloyd(points, centroids, iterations):
    """The definition; every word must keep a descriptor."""
    for _ in range(iterations):
        words = ((points[:, None] - centroids) ** 2).sum(axis=2).argmin(axis=1)
        centroids = np.stack([points[words == word].mean(axis=0) for word in range(len(centroids))])
    return centroids


def test_the_first_two_iterations_are_those_of_lloyd(points):
    start = points[::50]
    for number in (1, 2):
        found = last(shortlist_kmeans(points, start, nearest_of_all), number)
        np.testing.assert_allclose(found, lloyd(points, start, number), rtol=1e-4, atol=1e-5)


def test_with_as_many_words_as_a_shortlist_all_iterations_are_those_of_lloyd(points):
    start = points[:400:50]
    np.testing.assert_allclose(
        last(shortlist_kmeans(points, start, nearest_of_all), 12), lloyd(points, start, 12), rtol=1e-4, atol=1e-4
    )


def test_shortlists_end_as_near_to_the_descriptors_as_exact_iterations(points):
    start = points[np.random.default_rng(1).choice(len(points), 70, replace=False)]
    before, exact, found = (
        mean_distance(points, centroids)
        for centroids in (
            start,
            last(exact_kmeans(points, start, gpu=False), 20),
            last(shortlist_kmeans(points, start, nearest_of_all), 20),
        )
    )
    assert found < 1.01 * exact < 0.8 * before


def test_the_mean_of_each_word(points):
    words = np.random.default_rng(2).integers(0, 20, len(points)).astype(np.int32)
    expected = [points[words == word].mean(axis=0) for word in range(20)]
    np.testing.assert_allclose(means(points, words, 20), expected, rtol=1e-4, atol=1e-5)


def test_words_without_descriptors_share_those_of_the_largest():
    points = np.concatenate([np.full((5, 2), 3.0), np.full((60, 2), 8.0)]).astype(np.float32)
    words = np.repeat(np.array([1, 4], np.int32), [5, 60])
    found = means(points, words, 5)
    np.testing.assert_allclose(found[1], [3, 3])
    others = found[[0, 2, 3, 4]]
    np.testing.assert_allclose(others, 8.0, rtol=0.01)
    assert len(np.unique(others, axis=0)) == 4


def test_shortlists_are_used_unless_exact_iterations_are_asked_for(points):
    exact, short = (learn_codebook(points, 70, iterations=5, seed=0, exact=exact).centroids for exact in (True, False))
    assert not np.array_equal(exact, short)
    first = (learn_codebook(points, 70, iterations=1, seed=0, exact=exact).centroids for exact in (True, False))
    np.testing.assert_allclose(*first, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def many():
    """12,000 descriptors in clumps, and 1,100 of them as words."""
    rng = np.random.default_rng(3)
    clumps = rng.normal(size=(300, 8)).repeat(40, axis=0)
    points = rng.permutation((clumps + 0.5 * rng.normal(size=clumps.shape)).astype(np.float32))
    return points, points[:1100]


def test_most_of_the_nearest_words_are_found_in_cells(many):
    points, words = many
    found, truth = nearest_in_cells(points[:2000], words), nearest_of_all(points[:2000], words)
    assert found.shape == truth.shape and found.dtype == truth.dtype == np.int32
    assert 0.8 < (found[:, 0] == truth[:, 0]).mean() < 1
    np.testing.assert_array_equal(nearest_in_cells(points, words[:1000]), nearest_of_all(points, words[:1000]))


def test_iterations_in_cells_end_as_near_to_the_descriptors_as_exact_ones(many):
    points, words = many
    exact, found = (last(shortlist_kmeans(points, words, each), 2) for each in (nearest_of_all, nearest_in_cells))
    assert mean_distance(points[:1000], found) < 1.02 * mean_distance(points[:1000], exact)


def test_blocks_of_descriptors_are_assigned_by_the_executor_and_found_again(many, tmp_path, monkeypatch):
    points, words = many
    monkeypatch.setattr("lrcr.retrieval.asmk.assignment._BLOCK", 5000)
    shared = SharedAssignment(tmp_path, nearest_in_cells, ThisMachine())
    found = shared(points, words)
    bounds = [(0, 5000), (5000, 10000), (10000, 12000)]
    np.testing.assert_array_equal(
        found, np.concatenate([nearest_in_cells(points[first:last], words) for first, last in bounds])
    )
    [own] = tmp_path.glob("assigned-*")
    times = {file.name: file.stat().st_mtime_ns for file in own.iterdir()}
    assert sorted(times) == [*(f"shard-{number:05}.npy" for number in range(3)), "words.npy"]
    (own / "shard-00001.npy").unlink()
    np.testing.assert_array_equal(shared(points, words), found)
    again = {file.name: file.stat().st_mtime_ns for file in own.iterdir()}
    assert {name for name in times if again[name] != times[name]} == {"shard-00001.npy"}
    shared(points, words + 1)
    assert not own.exists(), "the blocks of other words are not kept"


class KilledAfter(Progress):
    """Ends k-means after some iterations."""

    def __init__(self, iterations):
        self.left = iterations

    def advance(self, steps=1):
        self.left -= steps
        if self.left <= 0:
            raise RuntimeError("killed")


@pytest.mark.parametrize(("kind", "resumed_at"), [("exact", 6), ("approximate", 3), ("ivf", 3)])
def test_a_killed_run_continues_from_an_iteration_and_ends_with_the_same_words(
    many, tmp_path, monkeypatch, kind, resumed_at
):
    """Iterations of shortlists are made again from the last one that looked for all words."""
    monkeypatch.setattr("lrcr.retrieval.asmk.resuming._EVERY", 0)
    points = many[0][:2000] if kind == "exact" else many[0][:4000]
    nearest = SharedAssignment(tmp_path, nearest_in_cells, ThisMachine()) if kind == "ivf" else nearest_of_all
    settings = {"words": 100, "iterations": 9, "seed": 0, "exact": kind == "exact", "nearest": nearest}
    whole = learn_codebook(points, **settings).centroids
    with pytest.raises(RuntimeError, match="killed"):
        learn_codebook(points, **settings, state=tmp_path, progress=KilledAfter(6))
    assert int(np.load(tmp_path / "iteration.npz")["done"]) == resumed_at
    for _ in range(2):  # the second run finds all iterations done, or those after the last that is kept
        continued = learn_codebook(points, **settings, state=tmp_path).centroids
        np.testing.assert_array_equal(continued.view(np.uint32), whole.view(np.uint32))
