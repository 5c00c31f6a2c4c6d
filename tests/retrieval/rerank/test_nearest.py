"""The nearest rows of two images against a search over all pairs; few different rows are drawn, so that many tie."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.retrieval.asmk.signs import pack_signs
from lrcr.retrieval.rerank.matching import match
from lrcr.retrieval.rerank.nearest import Nearest, nearest_codes, nearest_vectors

from .flat import unit_vectors


def slowly(cosines: np.ndarray) -> Nearest:
    in_b = [int(np.flatnonzero(row == row.max())[0]) for row in cosines]
    in_a = [int(np.flatnonzero(column == column.max())[0]) for column in cosines.T]
    best = [row[j] for row, j in zip(cosines, in_b, strict=True)]
    second = [max([-1.0, *np.delete(row, j)]) for row, j in zip(cosines, in_b, strict=True)]
    return Nearest(*map(np.array, (in_b, best, second, in_a)))


def assert_same(found: Nearest, expected: Nearest) -> None:
    np.testing.assert_array_equal(found.in_b, expected.in_b)
    np.testing.assert_array_equal(found.in_a, expected.in_a)
    np.testing.assert_allclose(found.best, expected.best, atol=1e-6)
    np.testing.assert_allclose(found.second, expected.second, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    dim=st.sampled_from([3, 32, 63, 64, 65, 128, 200]),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    different=st.integers(1, 30),
)
def test_codes(seed, dim, sizes, different):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(different, dim))
    a, b = (rows[rng.integers(different, size=size)] for size in sizes)
    distances = (a[:, None] > 0) ^ (b[None] > 0)
    cosines = np.cos(np.pi * distances.sum(axis=2) / dim)
    assert_same(nearest_codes(pack_signs(a), pack_signs(b), dim), slowly(cosines))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), sizes=st.tuples(st.integers(1, 40), st.integers(1, 40)))
def test_vectors(seed, sizes):
    rng = np.random.default_rng(seed)
    axes = np.concatenate([np.eye(4), -np.eye(4), np.full((1, 4), 0.5)]).astype(np.float32)
    a, b = (axes[rng.integers(len(axes), size=size)] for size in sizes)
    assert_same(nearest_vectors(a, b), slowly(a @ b.T))


def test_bits_beyond_the_dimensions_do_not_count_as_a_negative_cosine():
    damaged = np.full((1, 1), 2**64 - 1, np.uint64)
    found = nearest_codes(np.zeros((1, 1), np.uint64), damaged, 8)
    assert found.best.tolist() == [-1]


def test_codes_estimate_cosines():
    a = unit_vectors(0, 60, 128) - np.float32(0.5 / np.sqrt(160))
    b = a + np.random.default_rng(1).normal(size=a.shape).astype(np.float32) * np.linspace(0, 0.1, 60)[:, None]
    truth = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    found = [nearest_codes(pack_signs(a[i : i + 1]), pack_signs(b[i : i + 1]), 128).best[0] for i in range(60)]
    assert np.abs(found - truth).mean() < 0.1 and truth.min() < 0.8


@pytest.mark.parametrize(("min_similarity", "ratio"), [(-1.0, 1.0), (0.6, 1.0), (-1.0, 0.8), (0.5, 0.9)])
def test_matches_of_codes(min_similarity, ratio):
    a = unit_vectors(0, 50, 128)
    b = (a + np.random.default_rng(1).normal(size=a.shape) * np.linspace(0, 0.2, 50)[:, None])[::-1]
    found = list(zip(*match(pack_signs(a), pack_signs(b), min_similarity, ratio, bits=128), strict=True))
    signs = [np.where(side > 0, 1, -1) for side in (a, b)]
    cosines = np.cos(np.pi * (128 - signs[0] @ signs[1].T) / 2 / 128)
    expected = []
    for i, row in enumerate(cosines):
        j = int(row.argmax())
        near, far = (np.sqrt(2 - 2 * value) for value in (row[j], np.delete(row, j).max()))
        if cosines[:, j].argmax() == i and row[j] >= min_similarity and near <= ratio * far:
            expected.append((i, j))
    assert found == expected and 5 < len(found) < 50
