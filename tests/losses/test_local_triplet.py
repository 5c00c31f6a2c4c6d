import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.losses.local_triplet import local_triplet_loss, match


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def draw_tuple(images: int, locations: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Descriptors of which anchor and positive share something, and attention."""
    descriptors = draw(images, locations, 5, seed=seed)
    descriptors[1] = descriptors[0].flip(0) + 0.6 * descriptors[1]
    return descriptors, draw(images, locations, seed=seed + 1).abs()


def by_definition(descriptors: np.ndarray, attention: np.ndarray, margin: float, ratio: float) -> float:
    """Location by location, image by image."""
    unit = descriptors / np.linalg.norm(descriptors, axis=-1, keepdims=True)
    anchor, positive, *negatives = unit
    median = sorted(attention[1])[(len(attention[1]) - 1) // 2]
    total = 0.0
    for j, target in enumerate(positive):
        distances = np.linalg.norm(anchor - target, axis=1)
        i = int(np.argmin(distances))
        second = sorted([*distances, np.inf])[1]
        mutual = np.argmin(np.linalg.norm(positive - anchor[i], axis=1)) == j
        if not mutual or distances[i] > ratio * second or attention[1][j] <= median:
            continue
        for image in negatives:
            hard = min(((other - anchor[i]) ** 2).sum() for other in image)
            total += max(0.0, distances[i] ** 2 - hard + margin)
    return total


def test_loss_and_gradient_against_the_reference(fixtures):
    with np.load(fixtures / "cfcd.npz") as parity:
        descriptors = torch.from_numpy(parity["tuple_descriptors"]).requires_grad_()
        attention = torch.from_numpy(parity["tuple_attention"])
        expected, gradient = float(parity["local_triplet"]), parity["local_triplet_grad"]
    loss = local_triplet_loss(descriptors, attention)
    loss.backward()
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(descriptors.grad, gradient, rtol=0, atol=1e-5)


@settings(deadline=None)
@given(st.integers(3, 6), st.integers(1, 9), st.floats(0.05, 1.5), st.floats(0.5, 1), st.integers(0, 1000))
def test_loss_against_the_definition(images, locations, margin, ratio, seed):
    descriptors, attention = draw_tuple(images, locations, seed)
    expected = by_definition(descriptors.numpy(), attention.numpy(), margin, ratio)
    found = local_triplet_loss(descriptors, attention, margin, ratio)
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_the_definition_knows_losses_that_are_not_zero():
    losses = [by_definition(*(a.numpy() for a in draw_tuple(4, 8, seed)), 0.5, 0.9) for seed in range(10)]
    assert sum(loss > 0 for loss in losses) >= 5


def test_an_indistinct_match_is_refused():
    anchor = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    attention = torch.tensor([1.0, 0.0])
    distinct = torch.nn.functional.normalize(torch.tensor([[1.0, 0.4], [-1.0, 0.0]]), dim=1)
    between = torch.nn.functional.normalize(torch.tensor([[1.0, 0.95], [-1.0, 0.0]]), dim=1)
    assert [rows.tolist() for rows in match(anchor, distinct, attention, 0.9)] == [[0], [0]]
    assert [rows.tolist() for rows in match(anchor, between, attention, 0.9)] == [[], []]


def test_matches_need_the_upper_half_of_the_positives_attention():
    rows = torch.eye(4)
    here, there = match(rows, rows.roll(1, 0), torch.tensor([0.1, 0.4, 0.2, 0.3]), 0.9)
    assert sorted(there.tolist()) == [1, 3]
    assert [(i + 1) % 4 for i in here.tolist()] == there.tolist()


def test_without_a_match_the_loss_is_zero_and_so_is_its_gradient():
    descriptors = draw(8, 6, 4).requires_grad_()
    loss = local_triplet_loss(descriptors, torch.ones(8, 6, dtype=torch.float64))
    loss.backward()
    assert loss.item() == 0 and (descriptors.grad == 0).all()


def test_gradient_against_differences():
    descriptors, attention = draw_tuple(4, 6, seed=3)
    assert local_triplet_loss(descriptors, attention, 0.5) > 0
    assert torch.autograd.gradcheck(lambda x: local_triplet_loss(x, attention, 0.5), descriptors.requires_grad_())
