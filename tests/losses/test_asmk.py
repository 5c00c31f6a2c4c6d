import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lrcr.losses.asmk import aggregate, ranking_loss, score_matrix
from lrcr.models.local import Candidates


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def surely(descriptors: Tensor) -> Candidates:
    """All of them are selected."""
    return Candidates(descriptors, torch.ones(len(descriptors), dtype=torch.float64))


def scores_of(images: list[Candidates], centroids: Tensor) -> Tensor:
    return score_matrix(aggregate(images, centroids), 3.0)


def loss_of(images: list[Candidates], centroids: Tensor, temperature: float = 0.5) -> Tensor:
    """The loss of the first image as query; the second is its positive, the others are negatives."""
    negatives = torch.arange(len(images))[None] > 1
    return ranking_loss(scores_of(images, centroids)[:1], torch.tensor([1]), negatives, temperature)


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
@given(seed=st.integers(0, 2**32), sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4), words=st.integers(1, 8))
def test_every_score_against_the_definition(seed, sizes, words):
    centroids = draw(words, 6, seed=seed)
    images = [draw(size, 6, seed=seed + 1 + number) for number, size in enumerate(sizes)]
    found = scores_of([surely(image) for image in images], centroids)
    for row, a in enumerate(images):
        for column, b in enumerate(images):
            expected = by_definition(a.numpy(), b.numpy(), centroids.numpy())
            assert found[row, column].item() == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_descent_lifts_the_positive_above_the_negatives():
    images = [draw(20, 8, seed=seed).requires_grad_() for seed in range(3)]
    centroids = draw(4, 8, seed=9)
    optimizer = torch.optim.Adam(images, lr=0.05)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = loss_of([surely(image) for image in images], centroids)
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
    found = scores_of([softly, surely(other)], centroids)[0, 1].item()
    assert found == pytest.approx(
        scores_of([surely(descriptors[kept]), surely(other)], centroids)[0, 1].item(), 1e-4, 1e-6
    )


def test_descent_selects_what_query_and_positive_share():
    shared, clutter = draw(10, 8, seed=1), draw(10, 8, seed=2)
    centroids = draw(4, 8, seed=9)
    attention = torch.zeros(20, dtype=torch.float64, requires_grad=True)
    for _ in range(100):
        query = Candidates(torch.cat([shared, clutter]), torch.sigmoid(attention))
        loss = loss_of([query, surely(shared), surely(clutter)], centroids)
        [gradient] = torch.autograd.grad(loss, attention)
        attention = (attention - 3 * gradient).detach().requires_grad_()
    assert attention[:10].mean() > attention[10:].mean() + 0.5


def test_images_without_a_common_word_have_a_loss_and_a_finite_gradient():
    query = torch.tensor([[1.0, 0.1]], dtype=torch.float64, requires_grad=True)
    other = torch.tensor([[-1.0, 0.2]], dtype=torch.float64, requires_grad=True)
    centroids = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    loss = loss_of([surely(query), surely(other), surely(other)], centroids)
    loss.backward()
    assert loss.item() == pytest.approx(np.log(2))
    assert torch.isfinite(query.grad).all() and torch.isfinite(other.grad).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), factor=st.floats(1e-3, 1e3))
def test_a_factor_common_to_all_scores_of_a_query_changes_nothing(seed, factor):
    scores = draw(2, 6, seed=seed).abs().requires_grad_()
    positives, negatives = torch.tensor([1, 0]), torch.arange(6)[None].expand(2, -1) > 1
    found = ranking_loss(scores, positives, negatives, 0.5)
    scaled = ranking_loss(factor * scores, positives, negatives, 0.5)
    assert scaled.item() == pytest.approx(found.item(), rel=1e-6)
    [gradient], [of_scaled] = (torch.autograd.grad(loss, scores) for loss in (found, scaled))
    torch.testing.assert_close(of_scaled, gradient)
    assert (gradient * scores).sum(dim=1).abs().max() < 1e-6 < gradient.abs().max()


def test_only_positive_and_negatives_of_a_query_are_compared():
    scores = draw(1, 5, seed=3).abs()
    negatives = torch.tensor([[False, False, True, True, False]])
    found = ranking_loss(scores, torch.tensor([1]), negatives, 0.5)
    expected = ranking_loss(scores[:, 1:4], torch.tensor([0]), torch.tensor([[False, True, True]]), 0.5)
    assert found.item() == pytest.approx(expected.item())
    other = scores.clone()
    other[0, 0] = other[0, 4] = 100.0
    assert ranking_loss(other, torch.tensor([1]), negatives, 0.5).item() == pytest.approx(found.item())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 20), words=st.integers(2, 8), data=st.data())
def test_soft_assignment_against_the_definition(seed, n, words, data):
    k = data.draw(st.integers(2, words))
    centroids, descriptors = draw(words, 6, seed=seed), draw(n, 6, seed=seed + 1)
    probability = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = aggregate([Candidates(descriptors, probability)], centroids, k)
    squared = ((descriptors.numpy()[:, None] - centroids.numpy()) ** 2).sum(axis=2)
    nearest = np.argsort(squared, axis=1)[:, :k]
    typical = np.mean([squared[i, nearest[i, 1]] - squared[i, nearest[i, 0]] for i in range(n)])
    sums, absent = np.zeros((words, 6)), np.ones(words)
    for i in range(n):
        weights = np.exp(-(squared[i, nearest[i]] - squared[i].min()) / typical)
        for word, weight in zip(nearest[i], weights / weights.sum(), strict=True):
            sums[word] += probability[i].item() * weight * (descriptors[i].numpy() - centroids[word].numpy())
            absent[word] *= 1 - probability[i].item() * weight
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    np.testing.assert_allclose(found.residuals[0], sums / np.maximum(norms, 1e-12), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.presence[0], 1 - absent, rtol=1e-5, atol=1e-6)


def test_more_soft_words_than_words_are_all_words():
    images = [surely(draw(12, 8, seed=1))]
    for words in (1, 3):
        centroids = draw(words, 8, seed=9)
        few, many = (aggregate(images, centroids, soft_words) for soft_words in (words, 5))
        assert torch.equal(few.residuals, many.residuals) and torch.equal(few.presence, many.presence)


def test_only_with_soft_words_a_move_to_another_word_has_a_gradient():
    """The presence of words depends on where the descriptors lie, which a hard assignment does not see."""
    centroids = draw(4, 8, seed=9)
    for soft_words, moves in ((1, False), (3, True)):
        descriptors = draw(12, 8, seed=1).requires_grad_()
        presence = aggregate([surely(descriptors)], centroids, soft_words).presence.sum()
        assert presence.requires_grad == moves
        if moves:
            [gradient] = torch.autograd.grad(presence, descriptors)
            assert gradient.any(dim=1).sum() > 6
