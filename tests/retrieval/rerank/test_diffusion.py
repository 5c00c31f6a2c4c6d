"""Diffusion against a sum over paths, and on images that are joined only in a chain."""

import numpy as np
import pytest

from lrcr.config.rerank import DiffusionParams
from lrcr.data.ranking import Ranking
from lrcr.retrieval.rerank.diffusion import Diffusion, diffuse

from .flat import as_queries, flat_search, unit_vectors


def step(vectors, **values) -> Diffusion:
    return Diffusion(flat_search(vectors), DiffusionParams(kind="diffusion", **values))


def score_by_paths(vectors, query, found, k, images, gamma, alpha):
    """The slow way: weights pair by pair, then y + α S y + (α S)² y + … until nothing is added."""
    near = [set(np.argsort(-(vectors @ vector), kind="stable")[: k + 1]) - {i} for i, vector in enumerate(vectors)]
    weights = np.zeros((len(found), len(found)))
    for a, i in enumerate(found):
        for b, j in enumerate(found):
            if j in near[i] and i in near[j]:
                weights[a, b] = max(0.0, float(vectors[i] @ vectors[j])) ** gamma
    sums = weights.sum(axis=1)
    scaled = [
        [w / np.sqrt(sums[a] * sums[b]) if w else 0.0 for b, w in enumerate(row)] for a, row in enumerate(weights)
    ]
    term = [max(0.0, float(vectors[i] @ query)) ** gamma if place < images else 0.0 for place, i in enumerate(found)]
    total, term = np.array(term), np.array(term)
    while np.abs(term).max() > 1e-12:
        term = alpha * np.array(scaled) @ term
        total += term
    return total


@pytest.mark.parametrize("top", [12, 40])
@pytest.mark.parametrize(("k", "images", "gamma", "alpha"), [(5, 3, 3.0, 0.9), (8, 1, 1.0, 0.5), (100, 10, 2.0, 0.0)])
def test_scores_are_sums_over_paths(top, k, images, gamma, alpha):
    vectors, queries = unit_vectors(0, 40, 8), unit_vectors(1, 2, 8)
    first = flat_search(vectors).rank(queries, None)
    found = step(vectors, top=top, neighbours=k, images=images, gamma=gamma, alpha=alpha)
    found = found.rerank(as_queries(queries), first)
    for query, vector in enumerate(queries):
        images_before, scores_before = first.of_query(query)
        expected = score_by_paths(vectors, vector, images_before[:top], k, images, gamma, alpha)
        raised = 0.0
        if top < 40:
            raised = max(0.0, np.floor(scores_before[top] - expected.min()) + 1)
        image, score = found.of_query(query)
        assert (np.diff(score) <= 0).all()
        by_image = dict(zip(images_before[:top].tolist(), expected + raised, strict=True))
        np.testing.assert_allclose(score[:top], [by_image[int(each)] for each in image[:top]], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(image[top:], images_before[top:])
        np.testing.assert_array_equal(score[top:], scores_before[top:])


def test_a_chain_of_similar_images_is_followed():
    """Views of one object turn away from the query step by step; others are nearer to it, but joined to nothing."""
    angles = np.linspace(0, 1.4, 8)
    chain = np.stack([np.cos(angles), np.sin(angles), np.zeros(8)], axis=1)
    others = np.array([[np.cos(1.0), 0, np.sin(1.0)], [np.cos(1.1), 0, -np.sin(1.1)]])
    vectors = np.concatenate([chain, others]).astype(np.float32)
    query = vectors[:1]
    first = flat_search(vectors).rank(query, None)
    place = {int(image): rank for rank, image in enumerate(first.image)}
    assert place[7] > place[8] and place[7] > place[9], "the last view is behind the others at first"
    found = step(vectors, neighbours=2, images=2).rerank(as_queries(query), first)
    assert set(found.image[:8].tolist()) == set(range(8))


def test_images_that_were_removed_join_nothing():
    vectors, queries = unit_vectors(0, 30, 6), unit_vectors(1, 1, 6)
    first = flat_search(vectors).rank(queries, None)
    kept = first.select(first.image >= 10)
    found = step(vectors, neighbours=6).rerank(as_queries(queries), kept)
    expected = score_by_paths(vectors, queries[0], kept.image, 6, 10, 3.0, 0.99)
    assert set(found.image) == set(range(10, 30))
    np.testing.assert_allclose(found.score, np.sort(expected)[::-1], rtol=1e-4)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_images_take_all_that_there_are(count):
    vectors, queries = unit_vectors(0, 2, 4), unit_vectors(1, 2, 4)
    few = Ranking.from_queries([np.arange(count)] * 2, [np.arange(count, 0, -1, dtype=np.float32)] * 2)
    found = step(vectors).rerank(as_queries(queries), few)
    assert len(found) == 2 * count and np.isfinite(found.score).all()


def test_an_image_that_is_joined_to_nothing_keeps_its_score():
    assert diffuse(np.zeros((2, 2)), np.array([0.5, 0.25]), 0.99).tolist() == [0.5, 0.25]


def test_an_index_without_images_has_no_results():
    vectors, queries = unit_vectors(0, 0, 3), unit_vectors(1, 2, 3)
    first = flat_search(vectors).rank(queries, None)
    assert len(step(vectors).rerank(as_queries(queries), first)) == 0
