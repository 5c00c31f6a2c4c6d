import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.losses.triplet import triplet_loss


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_definition(queries, positives, negatives, margin) -> float:
    """Triplet by triplet."""
    total = 0.0
    for query, positive, others in zip(queries, positives, negatives, strict=True):
        for other in others:
            total += max(0.0, ((query - positive) ** 2).sum() - ((query - other) ** 2).sum() + margin)
    return total


@settings(deadline=None)
@given(st.integers(0, 4), st.integers(0, 3), st.floats(0.1, 3), st.integers(0, 100))
def test_loss_against_the_definition(tuples, count, margin, seed):
    queries, positives, negatives = draw(tuples, 3, seed=seed), draw(tuples, 3, seed=seed + 1), draw(tuples, count, 3)
    expected = by_definition(queries.numpy(), positives.numpy(), negatives.numpy(), margin)
    assert triplet_loss(queries, positives, negatives, margin).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_loss_and_gradient_against_the_reference(fixtures):
    with np.load(fixtures / "layers.npz") as parity:
        vectors = torch.from_numpy(parity["vectors"].T.copy()).requires_grad_()
        labels, loss, gradient = parity["labels"], float(parity["triplet"]), parity["triplet_grad"].T
    width = np.diff(np.flatnonzero(labels == -1))[0]
    tuples = vectors.view(-1, width, vectors.shape[1])
    found = triplet_loss(tuples[:, 0], tuples[:, 1], tuples[:, 2:], 0.1)
    found.backward()
    assert found.item() == pytest.approx(loss, rel=1e-6)
    np.testing.assert_allclose(vectors.grad, gradient, atol=1e-5)


def test_gradient_against_differences():
    inputs = [draw(*shape, seed=i).requires_grad_() for i, shape in enumerate([(2, 3), (2, 3), (2, 2, 3)])]
    assert torch.autograd.gradcheck(lambda *vectors: triplet_loss(*vectors, 5.0), inputs)


def test_negatives_farther_than_the_positive_by_the_margin_cost_nothing():
    query = torch.zeros(1, 2)
    positive, negative = torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.0, 1.2]]])
    assert triplet_loss(query, positive, negative, 0.43).item() == 0
    assert triplet_loss(query, positive, negative, 0.45).item() == pytest.approx(0.01, abs=1e-6)
