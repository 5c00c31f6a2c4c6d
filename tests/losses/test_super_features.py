import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.losses.super_features import decorrelation_loss, matched_templates, super_feature_loss


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def parity(fixtures) -> dict[str, np.ndarray]:
    with np.load(fixtures / "fire.npz") as file:
        return dict(file)


@pytest.mark.parametrize(("variant", "ratio"), [("", 0.9), ("_released", torch.inf)])
def test_the_loss_of_super_features_against_the_reference(parity, variant, ratio):
    """The released code divides by an index in place of a distance: on these numbers all matches pass its test."""
    features = torch.from_numpy(parity["tuple_super_features"]).requires_grad_()
    unit = torch.nn.functional.normalize(features.detach(), dim=-1)
    assert matched_templates(unit[0], unit[1], ratio).tolist() == parity[f"matches{variant}"].tolist()
    loss = 0.02 * super_feature_loss(features[0], features[1], features[2:], ratio=ratio)
    loss.backward()
    assert loss.item() == pytest.approx(float(parity[f"super_feature_loss{variant}"]), abs=1e-5)
    np.testing.assert_allclose(features.grad, parity[f"super_feature_gradient{variant}"], rtol=0, atol=1e-5)


def test_the_decorrelation_loss_against_the_reference(parity):
    attention = torch.from_numpy(parity["decorrelation_attention"]).requires_grad_()
    loss = 0.1 * torch.stack([decorrelation_loss(image) for image in attention]).sum()
    loss.backward()
    assert loss.item() == pytest.approx(float(parity["decorrelation_loss"]), abs=1e-5)
    np.testing.assert_allclose(attention.grad, parity["decorrelation_gradient"], rtol=0, atol=1e-5)


def by_definition(query, positive, negatives, margin: float, ratio: float) -> float:
    """Template by template, image by image."""
    query, positive, *negatives = (
        image / np.linalg.norm(image, axis=1, keepdims=True) for image in (query, positive, *negatives)
    )
    total = 0.0
    for template, own in enumerate(query):
        to_query = np.linalg.norm(query - positive[template], axis=1)
        first, second = sorted([*to_query, np.inf])[:2]
        nearest = np.argmin(np.linalg.norm(positive - own, axis=1)) == template == np.argmin(to_query)
        if nearest and first <= ratio * second:
            total += 0.5 * np.sum((own - positive[template]) ** 2)
            for image in negatives:
                total += 0.5 * max(0.0, margin - np.linalg.norm(own - image[template])) ** 2
    return total


@settings(deadline=None)
@given(st.integers(1, 7), st.integers(0, 3), st.floats(0.3, 1.9), st.floats(0.5, 1), st.integers(0, 100))
def test_the_loss_of_super_features_against_the_definition(templates, images, margin, ratio, seed):
    query, negatives = draw(templates, 4, seed=seed), draw(images, templates, 4, seed=seed + 1)
    positive = query + 0.7 * draw(templates, 4, seed=seed + 2)
    expected = by_definition(query.numpy(), positive.numpy(), negatives.numpy(), margin, ratio)
    found = super_feature_loss(query, positive, negatives, margin, ratio)
    assert found.item() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_without_a_match_the_loss_is_zero_and_has_a_gradient():
    query = torch.eye(3, dtype=torch.float64).requires_grad_()
    loss = super_feature_loss(query, query.detach().roll(1, dims=0), draw(2, 3, 3))
    loss.backward()
    assert loss.item() == 0 and (query.grad == 0).all()


@given(st.integers(2, 6), st.integers(1, 4), st.integers(1, 4), st.integers(0, 100))
def test_the_decorrelation_loss_against_the_definition(templates, height, width, seed):
    attention = draw(templates, height, width, seed=seed).abs()
    unit = [image.ravel() / np.linalg.norm(image) for image in attention.numpy()]
    pairs = [a @ b for i, a in enumerate(unit) for j, b in enumerate(unit) if i != j]
    assert decorrelation_loss(attention).item() == pytest.approx(np.mean(pairs), rel=1e-9)


def test_gradients_against_differences():
    features, attention = draw(4, 3, 5), draw(3, 2, 4).abs().requires_grad_()
    features[1] = features[0] + 0.1 * features[1]
    loss = lambda x: super_feature_loss(x[0], x[1], x[2:])  # noqa: E731
    assert loss(features) > 0
    assert torch.autograd.gradcheck(loss, features.requires_grad_())
    assert torch.autograd.gradcheck(decorrelation_loss, attention)
