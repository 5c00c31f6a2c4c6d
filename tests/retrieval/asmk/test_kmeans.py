from itertools import islice

import numpy as np
import pytest

from lrcr.retrieval.asmk.codebook import learn_codebook
from lrcr.retrieval.asmk.kmeans import exact_kmeans, means, shortlist_kmeans


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
        found = last(shortlist_kmeans(points, start), number)
        np.testing.assert_allclose(found, lloyd(points, start, number), rtol=1e-4, atol=1e-5)


def test_with_as_many_words_as_a_shortlist_all_iterations_are_those_of_lloyd(points):
    start = points[:400:50]
    np.testing.assert_allclose(
        last(shortlist_kmeans(points, start), 12), lloyd(points, start, 12), rtol=1e-4, atol=1e-4
    )


def test_shortlists_end_as_near_to_the_descriptors_as_exact_iterations(points):
    start = points[np.random.default_rng(1).choice(len(points), 70, replace=False)]
    before, exact, found = (
        mean_distance(points, centroids)
        for centroids in (
            start,
            last(exact_kmeans(points, start, gpu=False), 20),
            last(shortlist_kmeans(points, start), 20),
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
