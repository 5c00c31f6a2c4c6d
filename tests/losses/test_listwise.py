import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lrcr.losses.listwise import backward_in_two_passes, listwise_loss


def draw(queries: int, images: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Similarities in [0, 1) and relevance of about a third."""
    generator = torch.Generator().manual_seed(seed)
    similarity = torch.rand(queries, images, generator=generator, dtype=torch.float64)
    return similarity, torch.rand(queries, images, generator=generator) < 0.3


def average_precision(similarity: np.ndarray, relevant: np.ndarray) -> float:
    """The mean of the precision at each positive's rank."""
    ranked = relevant[np.argsort(-similarity, kind="stable")]
    ranks = np.flatnonzero(ranked)
    return float(np.mean([(i + 1) / (rank + 1) for i, rank in enumerate(ranks)]))


def quantised_by_definition(similarity: np.ndarray, relevant: np.ndarray, bins: int) -> float:
    """Bin by bin, image by image."""
    width = 1 / (bins - 1)
    above, above_positive, total = 0.0, 0.0, 0.0
    for m in range(bins):
        shares = [max(0.0, 1 - abs(max(0.0, value) - (1 - m * width)) / width) for value in similarity]
        positive = sum(share for share, is_positive in zip(shares, relevant, strict=True) if is_positive)
        above, above_positive = above + sum(shares), above_positive + positive
        total += above_positive / above * positive if above else 0.0
    return total / relevant.sum()


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 12), st.integers(2, 30), st.integers(0, 100))
def test_loss_against_the_definition(queries, images, bins, seed):
    similarity, relevant = draw(queries, images, seed)
    similarity = 1.5 * similarity - 0.5  # a third is below the last bin
    asked = [(s.numpy(), r.numpy()) for s, r in zip(similarity, relevant, strict=True) if r.any()]
    expected = np.mean([1 - quantised_by_definition(s, r, bins) for s, r in asked]) if asked else 0.0
    assert listwise_loss(similarity, relevant, bins).item() == pytest.approx(expected, abs=1e-9)


def test_loss_and_gradient_against_the_reference(fixtures):
    with np.load(fixtures / "ap_loss.npz") as parity:
        scores, relevant = torch.from_numpy(parity["scores"]).requires_grad_(), torch.from_numpy(parity["labels"])
        expected, gradient, ends = float(parity["loss"]), parity["gradient"], parity["scores"] == 1
    assert (scores < 0).any() and (scores == 1).any(), "below the bins, and at their end"
    loss = listwise_loss(scores, relevant)
    loss.backward()
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(scores.grad[~ends], gradient[~ends], rtol=0, atol=1e-5)
    # An image compared with itself stays the first if its score falls a little, so the derivative is 0. Those of the
    # reference, of min and clamp at the end of its bins, are not derivatives of its loss.
    assert (scores.grad[ends] == 0).all() and ends.sum() == 19


def exact_loss(similarity: torch.Tensor, relevant: torch.Tensor) -> float:
    return 1 - np.mean([average_precision(s.numpy(), r.numpy()) for s, r in zip(similarity, relevant, strict=True)])


@pytest.mark.parametrize("bins", [25, 101])
def test_of_similarities_at_different_centres_it_is_average_precision(bins):
    rng = np.random.default_rng(bins)
    centres = np.stack([rng.permutation(np.linspace(0, 1, bins))[:20] for _ in range(3)])
    _, relevant = draw(3, 20, seed=bins)
    relevant[:, 0] = True
    similarity = torch.from_numpy(centres)
    assert listwise_loss(similarity, relevant, bins).item() == pytest.approx(exact_loss(similarity, relevant), abs=1e-9)


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_with_many_bins_it_nears_average_precision_from_above(seed):
    similarity, relevant = draw(3, 12, seed)
    relevant[:, seed % 12] = True
    gap = listwise_loss(similarity, relevant, 20_001).item() - exact_loss(similarity, relevant)
    assert -1e-3 < gap < 0.09


def test_a_perfect_ranking_costs_nothing_and_the_reverse_most():
    relevant = torch.tensor([[True, True, False, False]])
    assert listwise_loss(torch.tensor([[1.0, 0.9, 0.2, -1.0]]), relevant).item() == pytest.approx(0, abs=1e-6)
    worst = listwise_loss(torch.tensor([[0.0, 0.25, 0.5, 1.0]]), relevant).item()
    assert worst == pytest.approx(1 - (1 / 3 + 2 / 4) / 2)


def test_what_is_no_candidate_counts_as_if_it_were_not_there():
    similarity, relevant = draw(3, 8, seed=1)
    relevant[:, 1] = True
    masked = similarity.clone()
    masked[:, 5] = -torch.inf
    kept = [0, 1, 2, 3, 4, 6, 7]
    assert listwise_loss(masked, relevant).item() == pytest.approx(
        listwise_loss(similarity[:, kept], relevant[:, kept]).item()
    )


def test_queries_without_positives_are_left_out():
    similarity, relevant = draw(3, 8, seed=2)
    relevant[:2, 1], relevant[2] = True, False
    assert torch.equal(listwise_loss(similarity, relevant), listwise_loss(similarity[:2], relevant[:2]))
    nothing = listwise_loss(similarity.requires_grad_(), torch.zeros_like(relevant))
    nothing.backward()
    assert nothing.item() == 0 and (similarity.grad == 0).all()


def test_gradient_against_differences_and_its_direction():
    similarity, relevant = draw(2, 6, seed=3)
    relevant[:, 0] = True
    similarity.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: listwise_loss(x, relevant, 5), similarity)
    similarity = torch.tensor([[0.65, 0.665]], requires_grad=True)
    listwise_loss(similarity, torch.tensor([[True, False]])).backward()
    assert similarity.grad[0, 0] < 0 < similarity.grad[0, 1], "the positive is to rise, the negative to fall"


def test_gradients_of_equal_and_masked_similarities_are_finite():
    vectors = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), dim=1).requires_grad_()
    similarity = (vectors @ vectors.T).masked_fill(torch.eye(4, dtype=torch.bool), -torch.inf)
    listwise_loss(similarity, torch.ones(4, 4, dtype=torch.bool).tril(1)).backward()
    assert torch.isfinite(vectors.grad).all()


def test_a_similarity_that_is_not_a_number_is_not_hidden():
    similarity, relevant = draw(2, 6, seed=4)
    relevant[:, 0] = True
    similarity[1, 3] = torch.nan
    assert torch.isnan(listwise_loss(similarity, relevant))


@pytest.mark.parametrize("sizes", [[6], [4, 2], [1, 2, 3]])
def test_two_passes_give_the_gradients_of_one(sizes):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 5)).double()
    images, clusters = torch.randn(6, 3, 6, 6, dtype=torch.float64), torch.tensor([0, 0, 1, 1, 2, 2])
    itself = torch.eye(6, dtype=torch.bool)

    def describe(chunk):
        return F.normalize(network(chunk), dim=1)

    def loss_of(vectors):
        return listwise_loss((vectors @ vectors.T).masked_fill(itself, -torch.inf), clusters[:, None] == clusters)

    expected = loss_of(describe(images))
    expected.backward()
    gradients = [parameter.grad.clone() for parameter in network.parameters()]
    network.zero_grad()
    found = backward_in_two_passes(describe, images.split(sizes), loss_of)
    torch.testing.assert_close(found, expected.detach())
    assert any((gradient != 0).any() for gradient in gradients)
    for parameter, gradient in zip(network.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)


def test_no_more_than_a_chunk_has_a_graph_at_a_time():
    weight = torch.ones(2, dtype=torch.float64, requires_grad=True)
    seen = []

    def describe(chunk):
        seen.append((len(chunk), torch.is_grad_enabled()))
        return chunk * weight

    backward_in_two_passes(describe, torch.ones(5, 2, dtype=torch.float64).split(2), torch.sum)
    assert seen == [(2, False), (2, False), (1, False), (2, True), (2, True), (1, True)]
    assert weight.grad.tolist() == [5, 5]
