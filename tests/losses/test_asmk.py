import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.losses.asmk import aggregate, asmk_loss, score
from lrcr.models.local import Candidates


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def surely(descriptors: torch.Tensor) -> Candidates:
    """All of them are selected."""
    return Candidates(descriptors, torch.ones(len(descriptors), dtype=torch.float64))


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
    found = score(*(aggregate(surely(image), centroids) for image in images), 3.0)
    assert found.item() == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_descent_lifts_the_positive_above_the_negatives():
    query, positive, negative = (draw(20, 8, seed=seed).requires_grad_() for seed in range(3))
    centroids = draw(4, 8, seed=9)
    optimizer = torch.optim.Adam([query, positive, negative], lr=0.05)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = asmk_loss(surely(query), surely(positive), [surely(negative)], centroids, 0.1, 3.0)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert losses[-1] < 0.1 < losses[0]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(2, 30), words=st.integers(1, 8))
def test_what_is_not_selected_counts_for_nothing(seed, n, words):
    centroids, descriptors, other = draw(words, 6, seed=seed), draw(n, 6, seed=seed + 1), draw(5, 6, seed=seed + 2)
    kept = torch.arange(n) < (n + 1) // 2
    softly = Candidates(descriptors, torch.where(kept, 1.0, 1e-9).double())
    there = aggregate(surely(other), centroids)
    found = score(aggregate(softly, centroids), there, 3.0)
    assert found.item() == pytest.approx(
        score(aggregate(surely(descriptors[kept]), centroids), there, 3.0).item(), 1e-4, 1e-6
    )


def test_descent_selects_what_query_and_positive_share():
    shared, clutter = draw(10, 8, seed=1), draw(10, 8, seed=2)
    centroids = draw(4, 8, seed=9)
    attention = torch.zeros(20, dtype=torch.float64, requires_grad=True)
    positive, negative = surely(shared), surely(clutter)
    for _ in range(100):
        query = Candidates(torch.cat([shared, clutter]), torch.sigmoid(attention))
        loss = asmk_loss(query, positive, [negative], centroids, 0.1, 3.0)
        [gradient] = torch.autograd.grad(loss, attention)
        attention = (attention - 3 * gradient).detach().requires_grad_()
    assert attention[:10].mean() > attention[10:].mean() + 0.5


def test_images_without_a_common_word_have_a_loss_and_a_finite_gradient():
    query = torch.tensor([[1.0, 0.1]], dtype=torch.float64, requires_grad=True)
    other = torch.tensor([[-1.0, 0.2]], dtype=torch.float64, requires_grad=True)
    centroids = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    loss = asmk_loss(surely(query), surely(other), [surely(other)], centroids, 0.1, 3.0)
    loss.backward()
    assert loss.item() == pytest.approx(np.log(2))
    assert torch.isfinite(query.grad).all() and torch.isfinite(other.grad).all()
