"""Query expansion and database-side augmentation against their formulas, written in loops."""

import numpy as np
import pytest

from lrcr.config.rerank import ExpansionParams
from lrcr.retrieval.rerank.expansion import Expansion

from .flat import as_queries, flat_search, unit_vectors

DATABASE, QUERIES = unit_vectors(0, 40, 5), unit_vectors(1, 4, 5)


def step(vectors, **values) -> Expansion:
    return Expansion(flat_search(vectors), ExpansionParams(kind="expansion", **values))


def expanded(vector, others, alpha):
    total = vector.astype(np.float64)
    for other in others:
        similarity = float(other @ vector)
        if similarity > 0:
            total = total + similarity**alpha * other
    return total / np.linalg.norm(total)


def assert_scores(found, query, vectors, expected):
    images, scores = found.of_query(query)
    np.testing.assert_allclose(scores, vectors[images] @ expected, atol=1e-6)
    assert len(images) == len(vectors)


@pytest.mark.parametrize("alpha", [0.0, 1.0, 3.0])
def test_the_query_is_joined_by_its_first_results(alpha):
    first = flat_search(DATABASE).rank(QUERIES, None)
    found = step(DATABASE, images=7, alpha=alpha).rerank(as_queries(QUERIES), first)
    for query, vector in enumerate(QUERIES):
        assert_scores(found, query, DATABASE, expanded(vector, DATABASE[first.of_query(query)[0][:7]], alpha))


def test_opposite_vectors_are_not_added():
    database = np.array([[1, 0], [-0.6, 0.8]], np.float32)
    first = flat_search(database).rank(database[:1], None)
    found = step(database, alpha=0.0).rerank(as_queries(database[:1]), first)
    np.testing.assert_allclose(found.score, [1, -0.6], atol=1e-6)


def test_augmented_vectors_are_joined_by_their_neighbours():
    first = flat_search(DATABASE).rank(QUERIES, None)
    found = step(DATABASE, images=0, neighbours=3, alpha=2.0).rerank(as_queries(QUERIES), first)
    augmented = []
    for image, vector in enumerate(DATABASE):
        order = [other for other in np.argsort(-DATABASE @ vector) if other != image]
        augmented.append(expanded(vector, DATABASE[order[:3]], 2.0))
    for query, vector in enumerate(QUERIES):
        assert_scores(found, query, np.array(augmented), vector)


def test_copies_of_an_image_are_neighbours_too():
    database = np.repeat(DATABASE[:2], [4, 1], axis=0)
    found = step(database, images=0, neighbours=2, alpha=0.0).rerank(
        as_queries(DATABASE[:1]), flat_search(database).rank(DATABASE[:1], None)
    )
    np.testing.assert_allclose(found.score[:4], 1, atol=1e-6)


def test_nothing_to_add_changes_nothing():
    first = flat_search(DATABASE).rank(QUERIES, None)
    found = step(DATABASE, images=0).rerank(as_queries(QUERIES), first)
    np.testing.assert_array_equal(found.image, first.image)


def test_more_images_and_neighbours_than_there_are():
    first = flat_search(DATABASE).rank(QUERIES, None)
    found, exact = (
        step(DATABASE, images=images, neighbours=images - 1).rerank(as_queries(QUERIES), first) for images in (900, 40)
    )
    np.testing.assert_array_equal(found.image, exact.image)
    np.testing.assert_array_equal(found.score, exact.score)


def test_a_cluster_beside_the_query_comes_to_the_front():
    """Image 1 is nearer to the query than image 2, which belongs with the first result."""
    database = np.array([[1, 0.5, 0], [0.5, 0, 0.8], [0.4, 0.9, 0]], np.float32)
    database /= np.linalg.norm(database, axis=1, keepdims=True)
    query = np.array([[1, 0.1, 0]], np.float32)
    first = flat_search(database).rank(query, None)
    found = step(database, images=1, alpha=0.0).rerank(as_queries(query), first)
    assert (first.image.tolist(), found.image.tolist()) == ([0, 1, 2], [0, 2, 1])
