"""Super-features: a fixed number of descriptors of an image, found by attention that is iterated.

The formulas are those of FIRe (Weinzaepfel, Lucas, Larlus, Kalantidis, ICLR 2022, section 3.1). Unlike a location of
the map, a super-feature may cover several places that belong together, and super-features of two images that come from
the same template are comparable.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

_MIN_ATTENTION = 1e-8  # added to the attention of each location: a template without attention would divide by zero


@dataclass(frozen=True)
class SuperFeatures:
    """The super-features of B images.

    Args:
        features: one for each of N templates, of shape (B, N, d); of maps without locations of shape (B, 0, d).
        attention: of each super-feature to each location, which sums to one, of shape (B, N, H, W).
    """

    features: Tensor
    attention: Tensor

    def of_image(self, row: int) -> "SuperFeatures":
        """Those of one image of the batch, with B = 1."""
        return SuperFeatures(self.features[row : row + 1], self.attention[row : row + 1])


class IteratedAttention(nn.Module):
    """N learned templates compete for the locations of a map, and collect the features of the locations they win.

    With x = LayerNorm(map), k = W_k x and v = W_v x, each iteration computes from the templates t

        q = W_q LayerNorm(t) / √d,
        a = softmax of k qᵀ over the *templates*, plus 1e-8, divided by its sum over the locations,
        t ← t + aᵀ v,
        t ← t + W_2 ReLU(W_1 LayerNorm(t)), with d / 2 hidden channels.

    All iterations share their weights. The last templates are the super-features.

    Args:
        channels: C, of the map.
        templates: N.
        dim: d, of the super-features.
        iterations: how often the attention is computed.
    """

    def __init__(self, channels: int, templates: int, dim: int, iterations: int) -> None:
        super().__init__()
        self.dim = dim
        self.iterations = iterations
        self.templates = nn.Parameter(torch.randn(templates, dim))
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(channels, dim, bias=False)
        self.value = nn.Linear(channels, dim, bias=False)
        self.norm_inputs = nn.LayerNorm(channels)
        self.norm_templates = nn.LayerNorm(dim)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, dim // 2), nn.ReLU(), nn.Linear(dim // 2, dim))

    def forward(self, features: Tensor) -> SuperFeatures:
        """The super-features of maps of shape (B, C, H, W)."""
        batch, size = len(features), features.shape[2:]
        if not features.numel():
            return SuperFeatures(features.new_zeros(batch, 0, self.dim), features.new_zeros(batch, 0, *size))
        inputs = self.norm_inputs(features.flatten(2).mT)
        key, value = self.key(inputs), self.value(inputs)
        templates, attention = self.templates.expand(batch, -1, -1), key
        for _ in range(self.iterations):
            query = self.query(self.norm_templates(templates)) / self.dim**0.5
            attention = (key @ query.mT).softmax(dim=-1) + _MIN_ATTENTION
            attention = attention / attention.sum(dim=1, keepdim=True)
            templates = templates + attention.mT @ value
            templates = templates + self.mlp(self.norm_mlp(templates))
        return SuperFeatures(templates, attention.mT.unflatten(2, size))


class MeanSuperFeature(nn.Module):
    """The mean of all super-features as a pooling, with which iterated attention is trained as a classifier.

    Args:
        attention: it is shared with the model, not copied.
    """

    def __init__(self, attention: IteratedAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, features: Tensor) -> Tensor:
        """Pool maps of shape (B, C, H, W) to (B, d)."""
        found: SuperFeatures = self.attention(features)
        return found.features.mean(dim=1)
