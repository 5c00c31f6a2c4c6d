import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.losses.second_order import second_order_loss


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_definition(queries, positives, negatives) -> float:
    """Tuple by tuple, negative by negative."""
    total = 0.0
    for query, positive, others in zip(queries, positives, negatives, strict=True):
        gaps = [((query - other) ** 2).sum() - ((positive - other) ** 2).sum() for other in others]
        total += math.sqrt(sum(gap**2 for gap in gaps))
    return total


@settings(deadline=None)
@given(st.integers(0, 4), st.integers(1, 4), st.integers(0, 100))
def test_loss_against_the_definition(tuples, count, seed):
    queries, positives, negatives = draw(tuples, 3, seed=seed), draw(tuples, 3, seed=seed + 1), draw(tuples, count, 3)
    expected = by_definition(queries.numpy(), positives.numpy(), negatives.numpy())
    assert second_order_loss(queries, positives, negatives).item() == pytest.approx(expected, rel=1e-9)


def test_gradient_against_differences():
    inputs = [draw(*shape, seed=i).requires_grad_() for i, shape in enumerate([(2, 3), (2, 3), (2, 4, 3)])]
    assert torch.autograd.gradcheck(second_order_loss, inputs)


def test_a_positive_at_its_query_costs_nothing_and_has_a_finite_gradient():
    query = draw(2, 4).requires_grad_()
    loss = second_order_loss(query, query.detach().clone(), draw(2, 3, 4, seed=1))
    loss.backward()
    assert loss.item() == 0 and (query.grad == 0).all()


def test_it_sees_what_triplets_do_not():
    """Positives equally far from the query, negatives far: only the order of distances to negatives differs."""
    query, negatives = torch.tensor([[0.0, 0.0]]), torch.tensor([[[9.0, 0.0], [-9.0, 0.0]]])
    across = second_order_loss(query, torch.tensor([[0.0, 1.0]]), negatives)
    towards = second_order_loss(query, torch.tensor([[1.0, 0.0]]), negatives)
    assert across.item() == pytest.approx(math.sqrt(2)) and towards.item() > 10
