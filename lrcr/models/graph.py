"""Refinement of a feature map by the similarity graph of its locations: context from the whole image."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrcr.config.model import GraphParams
from lrcr.models.smoothing import normalise, zero_init

_CHUNK = 1024  # nodes whose edge weights are in memory at the same time
_HEADS = 4


class Refinement(nn.Module, ABC):
    """Context from all locations of a map: it refines the features or gates their attention; at first the identity.

    Attributes:
        is_identity: whether it leaves all features as they are.
        has_edges: whether `neighbourhood` returns weights.
    """

    is_identity = False
    has_edges = False

    def forward(self, features: Tensor) -> Tensor:
        """Refine features of shape (B, C, H, W): add the change, scaled by the root mean square of the features."""
        return features + _root_mean_square(features) * self.change(features)

    def gate(self, features: Tensor) -> Tensor:
        """The factor in (0, 2) for the attention of each location: features of shape (B, C, H, W) → (B, H, W)."""
        return 2 * torch.sigmoid(self.change(features)[:, 0])

    @abstractmethod
    def change(self, features: Tensor) -> Tensor:
        """The learned change, at first zero: of shape (B, C, H, W) to refine, of shape (B, 1, H, W) to gate."""

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
    """A graph convolution network (Kipf and Welling, ICLR 2017) whose nodes are all locations of one map.

    The edge from p to q has the weight A_pq = softmax_q(cos(e_p, e_q) / temperature); e are learned projections of the
    features. Each layer replaces the states h of the nodes by h + ReLU(A V LayerNorm(h)). The change is a linear
    projection of the last states, zero at first.

    Args:
        channels: C, of the features.
        width: dimensions of projections and states.
        layers: number of propagation layers.
        temperature: of the softmax, > 0; the smaller, the larger the weights of the most similar nodes.
        neighbours: number of nearest nodes that each node is connected to, with `self_edges` itself included; None
            connects all nodes. With 1 each node has its own feature alone: the control without a graph.
        output: `refine` (a change of the features) or `reweight` (a gate for each node).
        self_edges: whether a node is connected to itself; the edge to itself has the largest weight.

    Example:
        >>> import torch
        >>> graph = GraphRefinement(8, width=4, layers=1, temperature=0.1, neighbours=None, output="refine")
        >>> features = torch.rand(2, 8, 5, 6)
        >>> torch.equal(graph(features), features)
        True
    """

    has_edges = True

    def __init__(
        self,
        channels: int,
        width: int,
        layers: int,
        temperature: float,
        neighbours: int | None,
        output: str,
        *,
        self_edges: bool = True,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.neighbours = neighbours
        self.self_edges = self_edges
        self.edges = nn.Linear(channels, width, bias=False)
        self.states = nn.Linear(channels, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.values = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        # A gate has no bias: a factor common to all locations selects nothing else, and has no gradient but noise.
        self.output = zero_init(nn.Linear(width, 1, bias=False) if output == "reweight" else nn.Linear(width, channels))

    def change(self, features: Tensor) -> Tensor:
        """See `Refinement`."""
        nodes = _as_nodes(normalise(features))
        edges = F.normalize(self.edges(nodes), dim=-1)
        states = self.states(nodes)
        for norm, value in zip(self.norms, self.values, strict=True):
            mean = propagate(edges, value(norm(states)), self.temperature, self.neighbours, self_edges=self.self_edges)
            states = states + F.relu(mean)
        return _as_map(self.output(states), features)

    def neighbourhood(self, features: Tensor, node: int) -> Tensor:
        """The edge weights of one node, which sum to one: features of shape (1, C, H, W) → (H, W)."""
        edges = F.normalize(self.edges(_as_nodes(normalise(features))), dim=-1)
        alone = edges.shape[1] == 1
        loops = None if self.self_edges or alone else _loops(edges, node, node + 1)
        weights = _edge_weights(edges[:, node : node + 1], edges, self.temperature, self.neighbours, loops)
        return weights.view(features.shape[2:])


class SelfAttention(Refinement):
    """Self-attention blocks with pre-normalisation (Vaswani et al., NeurIPS 2017): a baseline for the graph.

    With output `refine` the change is the sum of the residual branches; with `reweight` it is a linear projection of
    the last states. Both are zero at first.

    Args:
        channels: C, of the features.
        width: dimensions of queries, keys and values, all heads together.
        layers: number of blocks.
        output: `refine` (a change of the features) or `reweight` (a gate for each location).
    """

    def __init__(self, channels: int, width: int, layers: int, output: str) -> None:
        super().__init__()
        self.attend = nn.ModuleList(nn.Linear(channels, 3 * width) for _ in range(layers))
        self.project = nn.ModuleList(zero_init(nn.Linear(width, channels)) for _ in range(layers))
        self.expand = nn.ModuleList(nn.Linear(channels, 2 * channels) for _ in range(layers))
        self.contract = nn.ModuleList(zero_init(nn.Linear(2 * channels, channels)) for _ in range(layers))
        self.output = zero_init(nn.Linear(channels, 1, bias=False)) if output == "reweight" else None

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


def propagate(
    edges: Tensor, values: Tensor, temperature: float, neighbours: int | None = None, *, self_edges: bool = True
) -> Tensor:
    """For each node, the mean of its neighbours' values, weighted by softmax(cosine / temperature).

    Without gradient, the memory grows linearly with N.

    Args:
        edges: unit vectors of shape (B, N, d).
        values: of shape (B, N, d).
        temperature: of the softmax.
        neighbours: number of nearest nodes that are averaged, with `self_edges` the node itself included; None: all.
        self_edges: False leaves the node itself out; a single node keeps its value.

    Returns:
        Of shape (B, N, d).
    """
    nodes = edges.shape[1]
    if neighbours == 1 or nodes == 1:
        return values
    every = neighbours is None or neighbours >= nodes
    if every and self_edges:
        return F.scaled_dot_product_attention(edges, edges, values, scale=1 / temperature)
    chunks = []
    for start in range(0, nodes, _CHUNK):
        part = edges[:, start : start + _CHUNK]
        loops = None if self_edges else _loops(edges, start, start + part.shape[1])
        if every:
            assert loops is not None, "with all edges nothing is masked"
            chunks.append(F.scaled_dot_product_attention(part, edges, values, attn_mask=~loops, scale=1 / temperature))
        else:
            chunks.append(_edge_weights(part, edges, temperature, neighbours, loops) @ values)
    return torch.cat(chunks, dim=1)


def build_graph(params: GraphParams, channels: int) -> Refinement:
    """The refinement that the params describe, for features of C channels."""
    if params.kind == "gcn":
        return GraphRefinement(
            channels,
            params.width,
            params.layers,
            params.temperature,
            params.neighbours,
            params.output,
            self_edges=params.self_edges,
        )
    if params.kind == "attention":
        return SelfAttention(channels, params.width, params.layers, params.output)
    return NoRefinement()


def _edge_weights(
    queries: Tensor, edges: Tensor, temperature: float, neighbours: int | None, loops: Tensor | None
) -> Tensor:
    """Weights of the edges from nodes of shape (B, n, d) to all nodes of shape (B, N, d): of shape (B, n, N).

    Args:
        loops: the edges to leave out, of shape (n, N); None: none.
    """
    similarity = queries @ edges.mT / temperature
    if loops is not None:
        similarity = similarity.masked_fill(loops, float("-inf"))
    if neighbours is not None and neighbours < edges.shape[1]:
        smallest = similarity.topk(neighbours, dim=-1).values[..., -1:]
        similarity = similarity.masked_fill(similarity < smallest, float("-inf"))
    return similarity.softmax(dim=-1)


def _loops(edges: Tensor, start: int, stop: int) -> Tensor:
    """Which edges of the nodes from `start` to `stop` lead to the node itself: of shape (stop − start, N)."""
    nodes = torch.arange(edges.shape[1], device=edges.device)
    return nodes[start:stop, None] == nodes


def _as_nodes(features: Tensor) -> Tensor:
    """A map of shape (B, C, H, W) → nodes of shape (B, H · W, C)."""
    return features.flatten(2).mT


def _as_map(nodes: Tensor, features: Tensor) -> Tensor:
    """Nodes of shape (B, H · W, c) → a map of shape (B, c, H, W), of the same H and W as `features`."""
    return nodes.mT.reshape(*nodes.shape[:1], -1, *features.shape[2:])


def _normalise_nodes(nodes: Tensor) -> Tensor:
    return F.layer_norm(nodes, nodes.shape[-1:])


def _root_mean_square(features: Tensor) -> Tensor:
    """The root mean square of the map of each image, of shape (B, 1, 1, 1)."""
    return features.square().mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12).sqrt()
