"""Mutually nearest descriptors against a search in loops."""

import numpy as np
import pytest

from lrcr.retrieval.rerank.matching import match

from .flat import unit_vectors

A, B = unit_vectors(0, 40, 6), unit_vectors(1, 30, 6)


def slow(a, b, min_similarity, ratio):
    found = []
    for i, row in enumerate(a):
        distances = [np.linalg.norm(row - other) for other in b]
        order = np.argsort(distances)
        j = int(order[0])
        mutual = np.argmin([np.linalg.norm(other - b[j]) for other in a]) == i
        if mutual and row @ b[j] >= min_similarity and distances[j] <= ratio * distances[order[1]]:
            found.append((i, j))
    return found


@pytest.mark.parametrize(("min_similarity", "ratio"), [(-1.0, 1.0), (0.8, 1.0), (-1.0, 0.8), (0.8, 0.9)])
def test_matches_are_those_of_loops(min_similarity, ratio):
    found = list(zip(*match(A, B, min_similarity, ratio), strict=True))
    assert found == slow(A, B, min_similarity, ratio)
    assert len(found) > 0 and (min_similarity == -1.0 == -ratio or len(found) < len(match(A, B)[0]))


def test_each_descriptor_of_the_same_image_matches_itself():
    rows, others = match(A, A[::-1])
    np.testing.assert_array_equal(rows, np.arange(40))
    np.testing.assert_array_equal(others, rows[::-1])


@pytest.mark.parametrize(("a", "b"), [(A[:0], B), (A, B[:0]), (A[:0], B[:0])])
def test_nothing_matches_nothing(a, b):
    assert [len(side) for side in match(a, b)] == [0, 0]


def test_a_single_descriptor_has_no_second_nearest_one():
    assert [side.tolist() for side in match(A[:1], B[:1], ratio=0.5)] == [[0], [0]]
