"""Refinement of a feature map by the similarity graph of its locations: context from all over the image."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrcr.config.model import GraphParams
from lrcr.models.smoothing import normalise, start_at_zero

_CHUNK = 1024  # nodes whose edges to all others are held at a time
_HEADS = 4


class Refinement(nn.Module, ABC):
    """What the locations of a map tell each other, as features or as gates; either starts as the identity.

    Attributes:
        is_identity: whether it leaves all features as they are.
        has_edges: whether `neighbourhood` has an answer.
    """

    is_identity = False
    has_edges = False

    def forward(self, features: Tensor) -> Tensor:
        """Refine features of shape (B, C, H, W) by adding to them, in units of their root mean square."""
        return features + _root_mean_square(features) * self.change(features)

    def gate(self, features: Tensor) -> Tensor:
        """A factor for the attention of each location: features of shape (B, C, H, W) → (B, H, W), in (0, 2)."""
        return 2 * torch.sigmoid(self.change(features)[:, 0])

    @abstractmethod
    def change(self, features: Tensor) -> Tensor:
        """Zero at first: of shape (B, C, H, W) to refine, of shape (B, 1, H, W) to gate."""

    def neighbourhood(self, features: Tensor, node: int) -> Tensor | None:
        """The weights of one node's edges: features of shape (1, C, H, W) → of shape (H, W); None without edges."""
        return None


class NoRefinement(Refinement):
    """Leaves the features as they are."""

    is_identity = True

    def forward(self, features: Tensor) -> Tensor:
        """The features of shape (B, C, H, W) themselves."""
        return features

    def change(self, features: Tensor) -> Tensor:
        """See `Refinement`: zero."""
        return torch.zeros_like(features)


class GraphRefinement(Refinement):
    """A graph convolution network (Kipf and Welling, ICLR 2017) over all locations of one map.

    Edges are softmax(cos(e_p, e_q) / temperature) between learned projections e. In each layer the nodes' states become
    h + ReLU(A V norm(h)). A projection of the last states, zero at first, is the change.

    Args:
        channels: C, of the features.
        width: of projections and states.
        layers: how many times the states are propagated.
        temperature: of the softmax; the smaller, the fewer neighbours count.
        neighbours: how many nearest neighbours each node has; None joins all nodes.
        output: `refine` (what is added to the features) or `reweight` (a gate for each node).
    """

    has_edges = True

    def __init__(
        self, channels: int, width: int, layers: int, temperature: float, neighbours: int | None, output: str
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.neighbours = neighbours
        self.edges = nn.Linear(channels, width, bias=False)
        self.states = nn.Linear(channels, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.values = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.output = start_at_zero(nn.Linear(width, 1 if output == "reweight" else channels))

    def change(self, features: Tensor) -> Tensor:
        """See `Refinement`."""
        nodes = _as_nodes(normalise(features))
        edges = F.normalize(self.edges(nodes), dim=-1)
        states = self.states(nodes)
        for norm, value in zip(self.norms, self.values, strict=True):
            states = states + F.relu(propagate(edges, value(norm(states)), self.temperature, self.neighbours))
        return _as_map(self.output(states), features)

    def neighbourhood(self, features: Tensor, node: int) -> Tensor:
        """See `Refinement`; they sum to one."""
        edges = F.normalize(self.edges(_as_nodes(normalise(features))), dim=-1)
        weights = _edge_weights(edges[:, node : node + 1], edges, self.temperature, self.neighbours)
        return weights.view(features.shape[2:])


class SelfAttention(Refinement):
    """General self-attention blocks (Vaswani et al., NeurIPS 2017), to compare the graph with: pre-norm.

    To refine, the change is the sum of the residual branches, each zero at first; to gate, it is a projection of the
    last states, zero at first.

    Args:
        channels: C, of the features.
        width: of queries, keys and values, all heads together.
        layers: how many blocks.
        output: `refine` or `reweight`.
    """

    def __init__(self, channels: int, width: int, layers: int, output: str) -> None:
        super().__init__()
        self.attend = nn.ModuleList(nn.Linear(channels, 3 * width) for _ in range(layers))
        self.project = nn.ModuleList(start_at_zero(nn.Linear(width, channels)) for _ in range(layers))
        self.expand = nn.ModuleList(nn.Linear(channels, 2 * channels) for _ in range(layers))
        self.contract = nn.ModuleList(start_at_zero(nn.Linear(2 * channels, channels)) for _ in range(layers))
        self.output = start_at_zero(nn.Linear(channels, 1)) if output == "reweight" else None

    def change(self, features: Tensor) -> Tensor:
        """See `Refinement`."""
        first = nodes = _as_nodes(features / _root_mean_square(features))
        for attend, project, expand, contract in zip(
            self.attend, self.project, self.expand, self.contract, strict=True
        ):
            parts = attend(_normalise_nodes(nodes)).unflatten(-1, (3, _HEADS, -1)).permute(2, 0, 3, 1, 4)
            attended = F.scaled_dot_product_attention(*parts.unbind())
            nodes = nodes + project(attended.transpose(1, 2).flatten(2))
            nodes = nodes + contract(F.gelu(expand(_normalise_nodes(nodes))))
        change = nodes - first if self.output is None else self.output(_normalise_nodes(nodes))
        return _as_map(change, features)


def propagate(edges: Tensor, values: Tensor, temperature: float, neighbours: int | None = None) -> Tensor:
    """Each node's mean of its neighbours' values, weighted by softmax(cosine / temperature).

    Without gradient the memory grows with N, not with its square.

    Args:
        edges: unit vectors of shape (B, N, d).
        values: of shape (B, N, d).
        temperature: of the softmax.
        neighbours: only so many of the nearest nodes count (the node itself is one of them); None takes all.

    Returns:
        Of shape (B, N, d).
    """
    if neighbours is None or neighbours >= edges.shape[1]:
        return F.scaled_dot_product_attention(edges, edges, values, scale=1 / temperature)
    chunks = [
        _edge_weights(part, edges, temperature, neighbours) @ values for part in torch.split(edges, _CHUNK, dim=1)
    ]
    return torch.cat(chunks, dim=1)


def build_graph(params: GraphParams, channels: int) -> Refinement:
    """The refinement that the params name, for features of C channels."""
    if params.kind == "gcn":
        return GraphRefinement(
            channels, params.width, params.layers, params.temperature, params.neighbours, params.output
        )
    if params.kind == "attention":
        return SelfAttention(channels, params.width, params.layers, params.output)
    return NoRefinement()


def _edge_weights(some: Tensor, edges: Tensor, temperature: float, neighbours: int | None) -> Tensor:
    """Weights of the edges of some nodes, of shape (B, n, d), to all of shape (B, N, d): of shape (B, n, N)."""
    similarity = some @ edges.mT / temperature
    if neighbours is not None and neighbours < edges.shape[1]:
        least = similarity.topk(neighbours, dim=-1).values[..., -1:]
        similarity = similarity.masked_fill(similarity < least, float("-inf"))
    return similarity.softmax(dim=-1)


def _as_nodes(features: Tensor) -> Tensor:
    """Map of shape (B, C, H, W) → nodes of shape (B, H · W, C)."""
    return features.flatten(2).mT


def _as_map(nodes: Tensor, features: Tensor) -> Tensor:
    """Nodes of shape (B, H · W, c) → a map of shape (B, c, H, W), H and W those of `features`."""
    return nodes.mT.reshape(*nodes.shape[:1], -1, *features.shape[2:])


def _normalise_nodes(nodes: Tensor) -> Tensor:
    return F.layer_norm(nodes, nodes.shape[-1:])


def _root_mean_square(features: Tensor) -> Tensor:
    """Of each image's map: of shape (B, 1, 1, 1)."""
    return features.square().mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12).sqrt()
