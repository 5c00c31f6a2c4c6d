import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lrcr.losses.matches import match_loss, mutual_nearest_neighbours


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_definition(query, positive, negatives, margin) -> float:
    """Match by match."""
    query, positive, *negatives = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (query, positive, *negatives))
    losses = []
    for row in query:
        nearest = np.argmax(positive @ row)
        if np.argmax(query @ positive[nearest]) != np.argmax(query @ row):
            continue
        loss = 0.5 * np.linalg.norm(row - positive[nearest]) ** 2
        for other in negatives:
            loss += 0.5 * max(0.0, margin - np.linalg.norm(other - row, axis=1).min()) ** 2
        losses.append(loss)
    return float(np.mean(losses))


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 3), st.floats(0.1, 1.9), st.integers(0, 100))
def test_loss_against_the_definition(n, m, count, margin, seed):
    query, positive = draw(n, 4, seed=seed), draw(m, 4, seed=seed + 1)
    negatives = [draw(3 + i, 4, seed=seed + 2 + i) for i in range(count)]
    expected = by_definition(query.numpy(), positive.numpy(), [a.numpy() for a in negatives], margin)
    assert match_loss(query, positive, negatives, margin).item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_gradient_reaches_matched_descriptors_only():
    query = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    positive = torch.tensor([[0.9, 0.1], [0.8, 0.2]], requires_grad=True)
    match_loss(query, positive, [], 0.8).backward()
    assert ((query.grad[0] != 0).any() and (query.grad[1] == 0).all()) or (positive.grad[1] == 0).all()


def test_descent_brings_matches_together_and_pushes_negatives_away():
    query, positive, negative = (draw(5, 8, seed=seed).requires_grad_() for seed in range(3))
    optimizer = torch.optim.SGD([query, positive, negative], lr=0.1)
    losses = []
    for _ in range(200):
        optimizer.zero_grad()
        loss = match_loss(query, positive, [negative], 1.2)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert losses[-1] < 0.2 * losses[0]


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 100))
def test_mutually_nearest_pairs_are_so_from_both_sides(n, m, seed):
    a, b = draw(n, 3, seed=seed), draw(m, 3, seed=seed + 1)
    rows, others = mutual_nearest_neighbours(a, b)
    similarity = (a @ b.T).numpy()
    expected = {
        (i, j) for i in range(n) for j in range(m) if j == similarity[i].argmax() and i == similarity[:, j].argmax()
    }
    assert set(zip(rows.tolist(), others.tolist(), strict=True)) == expected and expected
