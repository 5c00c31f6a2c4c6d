import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lrcr.config.model import GraphParams
from lrcr.models.graph import GraphRefinement, build_graph, propagate

KINDS = [
    {"kind": "gcn"},
    {"kind": "gcn", "layers": 3, "neighbours": 5},
    {"kind": "gcn", "self_edges": False},
    {"kind": "attention"},
    {"kind": "attention", "layers": 2},
]


def draw(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def build(channels: int = 12, seed: int = 0, **overrides: object) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_graph(GraphParams(**{"width": 8, "output": "refine", **overrides}), channels)


def disturb(module: nn.Module, seed: int = 0) -> nn.Module:
    """Parameters as after some training."""
    with torch.no_grad():
        for i, parameter in enumerate(module.parameters()):
            parameter.add_(0.3 * draw(tuple(parameter.shape), 100 * seed + i))
    return module


@pytest.mark.parametrize("settings", KINDS)
def test_it_starts_as_the_identity(settings):
    features = draw((2, 12, 5, 7)) + 3
    torch.testing.assert_close(build(**settings)(features), features, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("settings", KINDS)
def test_it_learns_from_the_start(settings):
    """A few steps of descent lower a loss that only context can lower."""
    module, features = build(**settings), draw((2, 12, 5, 7))
    target = features + features.mean((2, 3), keepdim=True)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = (module(features) - target).square().mean()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize("settings", KINDS)
def test_images_of_a_batch_do_not_meet(settings):
    module, features = disturb(build(**settings)), draw((3, 12, 4, 6))
    with torch.inference_mode():
        together = module(features)
        for i in range(3):
            torch.testing.assert_close(module(features[i : i + 1])[0], together[i], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("settings", KINDS)
def test_the_order_of_the_nodes_does_not_matter(settings):
    module, features = disturb(build(**settings)), draw((1, 12, 4, 6))
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    shuffled = features.flatten(2)[:, :, order].view(1, 12, 4, 6)
    expected = module(features).flatten(2)[:, :, order].view(1, 12, 4, 6)
    torch.testing.assert_close(module(shuffled), expected, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("settings", KINDS)
def test_the_scale_of_the_features_does_not_matter(settings):
    module, features = disturb(build(**settings)), draw((1, 12, 4, 6))
    torch.testing.assert_close(module(1000 * features), 1000 * module(features), rtol=1e-3, atol=1e-1)


@torch.inference_mode()
@pytest.mark.parametrize("kind", ["gcn", "attention"])
def test_gates_start_at_one_and_stay_between_zero_and_two(kind):
    features, module = draw((2, 12, 4, 6)), build(kind=kind, output="reweight")
    torch.testing.assert_close(module.gate(features), torch.ones(2, 4, 6))
    gates = disturb(module).gate(features)
    assert gates.shape == (2, 4, 6) and 0 < gates.min() < gates.max() < 2


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    nodes=st.integers(1, 20),
    temperature=st.sampled_from([0.05, 1.0]),
    neighbours=st.sampled_from([None, 1, 3, 50]),
    self_edges=st.booleans(),
)
def test_propagation_against_the_definition(seed, nodes, temperature, neighbours, self_edges):
    edges = torch.nn.functional.normalize(draw((1, nodes, 4), seed), dim=-1)
    values = draw((1, nodes, 4), seed + 1)
    similarity = (edges[0] @ edges[0].T).double().numpy()
    expected = np.empty((nodes, 4))
    for node in range(nodes):
        nearest = np.argsort(-similarity[node], kind="stable")
        if not self_edges and neighbours != 1 and nodes > 1:
            nearest = nearest[nearest != node]
        nearest = nearest[:neighbours]
        weights = np.exp(similarity[node, nearest] / temperature)
        expected[node] = weights / weights.sum() @ values[0].double().numpy()[nearest]
    found = propagate(edges, values, temperature, neighbours, self_edges=self_edges)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_a_node_that_is_left_out_has_no_influence_on_itself():
    """More nodes than a chunk: the diagonal is masked in each chunk."""
    edges = torch.nn.functional.normalize(draw((1, 1100, 4)), dim=-1)
    values = draw((1, 1100, 2), 1).requires_grad_()
    for node in (0, 1050):
        mean = propagate(edges, values, 0.1, self_edges=False)[0, node].sum()
        [gradient] = torch.autograd.grad(mean, values)
        assert not gradient[0, node].any() and (gradient[0] > 0).any(dim=1).sum() > 1000


def test_with_one_neighbour_a_node_sees_its_own_feature_alone():
    module, features = disturb(build(kind="gcn", neighbours=1)), draw((1, 12, 4, 6))
    other = features.clone()
    other[:, :, 3, 5] += 1
    changed = (module.gate(features) - module.gate(other))[0] != 0
    assert changed[3, 5] and changed.sum() == 1


@torch.inference_mode()
@pytest.mark.parametrize("neighbours", [None, 4])
def test_the_neighbourhood_of_a_node_is_its_row_of_the_graph(neighbours):
    module, features = disturb(build(kind="gcn", neighbours=neighbours)), draw((1, 12, 4, 6))
    assert isinstance(module, GraphRefinement)
    weights = module.neighbourhood(features, node=9)
    assert weights.shape == (4, 6)
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    assert weights.argmax() == 9  # nothing is more similar than the node itself
    assert (weights > 0).sum() == (24 if neighbours is None else neighbours)


@torch.inference_mode()
@pytest.mark.parametrize(
    "settings",
    [{"kind": "gcn"}, {"kind": "gcn", "neighbours": 16}, {"kind": "gcn", "self_edges": False}, {"kind": "attention"}],
)
def test_memory_is_linear_in_the_number_of_nodes(peak_memory, settings):
    """At 64 × 96 nodes all edges together would take 144 MiB, a chunk of 1024 nodes takes 24."""
    module = build(64, **{**settings, "width": 64, "output": "reweight"}).eval()
    half, whole = (peak_memory(lambda size=size: module(torch.rand(1, 64, *size))) for size in ((64, 48), (64, 96)))
    assert whole < 2.1 * half and whole < 72 * 2**20


def test_params_name_the_graph():
    features = draw((1, 12, 3, 3))
    assert torch.equal(build(kind="none")(features), features)
    assert not list(build(kind="none").parameters())


@torch.inference_mode()
def test_a_single_node_is_its_own_neighbourhood():
    module = disturb(build(kind="gcn", self_edges=False))
    assert isinstance(module, GraphRefinement)
    assert module.neighbourhood(draw((1, 12, 1, 1)), node=0).tolist() == [[1.0]]
