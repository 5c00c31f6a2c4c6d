import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.losses.asmk import aggregate, asmk_loss, score


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_definition(a: np.ndarray, b: np.ndarray, centroids: np.ndarray) -> float:
    """The score, descriptor by descriptor and word by word."""
    images = []
    for image in (a, b):
        sums: dict[int, np.ndarray] = {}
        for row in image:
            word = int(np.argmin(((row - centroids) ** 2).sum(axis=1)))
            sums[word] = sums.get(word, 0) + row - centroids[word]
        images.append({word: total / np.linalg.norm(total) for word, total in sums.items()})
    first, second = images
    shared = [max(0.0, first[word] @ second[word]) ** 3 for word in first.keys() & second.keys()]
    return sum(shared) / np.sqrt(len(first) * len(second))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 30), m=st.integers(1, 30), words=st.integers(1, 8))
def test_the_score_against_the_definition(seed, n, m, words):
    centroids, images = draw(words, 6, seed=seed), [draw(n, 6, seed=seed + 1), draw(m, 6, seed=seed + 2)]
    expected = by_definition(*(image.numpy() for image in images), centroids.numpy())
    found = score(*(aggregate(image, centroids) for image in images), 3.0)
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_descent_lifts_the_positive_above_the_negatives():
    query, positive, negative = (draw(20, 8, seed=seed).requires_grad_() for seed in range(3))
    centroids = draw(4, 8, seed=9)
    optimizer = torch.optim.Adam([query, positive, negative], lr=0.05)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = asmk_loss(query, positive, [negative], centroids, 0.1, 3.0)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert losses[-1] < 0.1 < losses[0]


def test_images_without_a_common_word_have_a_loss_and_a_finite_gradient():
    query = torch.tensor([[1.0, 0.1]], dtype=torch.float64, requires_grad=True)
    other = torch.tensor([[-1.0, 0.2]], dtype=torch.float64, requires_grad=True)
    centroids = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    loss = asmk_loss(query, other, [other], centroids, 0.1, 3.0)
    loss.backward()
    assert loss.item() == pytest.approx(np.log(2))
    assert torch.isfinite(query.grad).all() and torch.isfinite(other.grad).all()
