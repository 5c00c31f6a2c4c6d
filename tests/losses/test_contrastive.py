import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrcr.losses.contrastive import contrastive_loss


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss_by_definition(queries, positives, negatives, margin) -> float:
    """Σ ½ [y d² + (1 − y) max(0, m − d)²], pair by pair."""
    total = 0.0
    for query, positive, others in zip(queries, positives, negatives, strict=True):
        total += 0.5 * np.linalg.norm(query - positive) ** 2
        for other in others:
            total += 0.5 * max(0.0, margin - np.linalg.norm(query - other)) ** 2
    return total


@given(st.integers(0, 4), st.integers(0, 3), st.floats(0.1, 3), st.integers(0, 100))
def test_loss_against_the_definition(tuples, count, margin, seed):
    queries, positives, negatives = draw(tuples, 3, seed=seed), draw(tuples, 3, seed=seed + 1), draw(tuples, count, 3)
    expected = loss_by_definition(queries.numpy(), positives.numpy(), negatives.numpy(), margin)
    assert contrastive_loss(queries, positives, negatives, margin).item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_loss_and_gradient_against_the_reference(fixtures):
    with np.load(fixtures / "layers.npz") as parity:
        vectors = torch.from_numpy(parity["vectors"].T.copy()).requires_grad_()
        labels, loss, gradient = parity["labels"], float(parity["contrastive"]), parity["contrastive_grad"].T
    is_query = np.flatnonzero(labels == -1)
    width = np.diff(is_query)[0]
    assert (labels.reshape(-1, width) == [-1, 1, *[0] * (width - 2)]).all(), "the tuples of the fixture"
    tuples = vectors.view(-1, width, vectors.shape[1])
    found = contrastive_loss(tuples[:, 0], tuples[:, 1], tuples[:, 2:], 0.8)
    found.backward()
    assert found.item() == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(vectors.grad, gradient, atol=1e-5)


def test_gradient_against_differences():
    inputs = [draw(*shape, seed=i).requires_grad_() for i, shape in enumerate([(2, 3), (2, 3), (2, 2, 3)])]
    assert torch.autograd.gradcheck(lambda *vectors: contrastive_loss(*vectors, 5.0), inputs)


def test_gradient_is_there_and_finite_where_vectors_coincide():
    query = draw(2, 4).requires_grad_()
    negatives = query.detach()[:, None].repeat(1, 3, 1)
    loss = contrastive_loss(query, query.detach().clone(), negatives, 0.7)
    loss.backward()
    assert loss.item() == pytest.approx(2 * 3 * 0.5 * 0.7**2, rel=1e-4)
    assert torch.isfinite(query.grad).all() and (query.grad != 0).any(), "they are pushed apart"


def test_negatives_beyond_the_margin_cost_nothing():
    queries = torch.zeros(1, 2, dtype=torch.float64)
    far = torch.tensor([[[0.0, 1.0], [3.0, 0.0]]], dtype=torch.float64)
    assert contrastive_loss(queries, queries, far, 0.9).item() == pytest.approx(0, abs=1e-9)
    assert contrastive_loss(queries, queries, far, 1.2).item() == pytest.approx(0.5 * 0.2**2, rel=1e-4)
