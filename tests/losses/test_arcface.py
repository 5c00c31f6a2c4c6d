import math

import pytest
import torch

from lrcr.losses.arcface import arcface_logits

LABELS = torch.tensor([1, 0])


def test_the_margin_is_added_to_the_angle_of_the_target():
    angles = torch.tensor([[0.3, 1.1, 2.0], [2.5, 0.1, 1.6]], dtype=torch.float64)
    moved = angles + 0.4 * torch.nn.functional.one_hot(LABELS, 3)
    torch.testing.assert_close(arcface_logits(angles.cos(), LABELS, 7.0, 0.4), 7.0 * moved.cos())


def test_without_a_margin_the_cosines_are_scaled():
    cosines = torch.tensor([[0.3, -1.0], [1.0, 0.2]])
    torch.testing.assert_close(arcface_logits(cosines, LABELS, 3.0, 0.0), 3 * cosines, rtol=0, atol=1e-3)


def test_the_logit_of_the_target_falls_with_its_angle_to_the_end():
    angles = torch.linspace(0, math.pi, 200, dtype=torch.float64)
    logits = arcface_logits(angles.cos()[:, None], torch.zeros(200, dtype=torch.int64), 1.0, 0.5)[:, 0]
    assert (logits.diff() < 0).all()
    assert (logits < angles.cos()).all()


@pytest.mark.parametrize("margin", [0.1, 1.0])
def test_its_gradient(margin):
    angles = torch.tensor([[0.3, 1.1], [2.9, 0.4]], dtype=torch.float64)
    scale = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    cosines = angles.cos().requires_grad_()
    assert torch.autograd.gradcheck(lambda c, s: arcface_logits(c, LABELS, s, margin), (cosines, scale))


def test_its_gradient_is_finite_at_the_ends():
    cosines = torch.tensor([[1.0, -1.0], [-1.0, 1.0]], requires_grad=True)
    arcface_logits(cosines, torch.tensor([0, 0]), 45.25, 0.1).sum().backward()
    assert cosines.grad.isfinite().all()
