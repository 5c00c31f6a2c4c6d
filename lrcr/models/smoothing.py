"""Smoothing of a feature map: each location becomes a weighted average of its neighbourhood."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from lrcr.config.model import SmoothingParams

Layer = TypeVar("Layer", bound=nn.Module)

_NO_WEIGHT = 1e-6  # below this sum of weights a location keeps its own feature
_LENGTH = 4.0  # of what the heads read
_NARROWEST = 1e6  # bandwidth; finite, so that no product with a distance of zero is NaN
_PER_LOCATION: dict[str, frozenset[Literal["bandwidth", "confidence"]]] = {
    "shared": frozenset(),
    "bandwidth": frozenset({"bandwidth"}),
    "both": frozenset({"bandwidth", "confidence"}),
}


class Smoothing(nn.Module, ABC):
    """Replaces each location of a feature map by a weighted average of the k × k window around it.

    Attributes:
        kernel: k, odd.
        per_location: which values of its filter each location has of its own, as maps that can be shown.
    """

    kernel: int
    per_location: frozenset[Literal["bandwidth", "confidence"]] = frozenset()

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Smooth features of shape (B, C, H, W); the shape stays."""

    def filter(self, features: Tensor) -> "Filter | None":
        """The Gaussian filter of each location of features of shape (B, C, H, W); None for a plain average."""
        return None


class AverageSmoothing(Smoothing):
    """HOW's smoothing (Tolias et al., ECCV 2020): the mean over a k × k window, borders counted out.

    Args:
        kernel: k, odd; 1 leaves the map as it is.
    """

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, features: Tensor) -> Tensor:
        """Smooth features of shape (B, C, H, W); the shape stays."""
        return F.avg_pool2d(features, self.kernel, stride=1, padding=self.kernel // 2, count_include_pad=False)


@dataclass(frozen=True)
class Filter:
    """The Gaussian filter of each location.

    Args:
        bandwidth: a ≥ 0, of shape (B, 1, H, W); the larger, the narrower.
        confidence: c in [0, 1], the centre's own weight, of shape (B, 1, H, W).
        embedding: of shape (B, E, H, W), between which the distances are; None takes spatial ones.
    """

    bandwidth: Tensor
    confidence: Tensor
    embedding: Tensor | None


class LearnableSmoothing(Smoothing):
    """A Gaussian filter of its own for each location, predicted from the feature there.

    y_p = Σ_q w_pq x_q / Σ_q w_pq over the k × k window inside the map, with w_pp = c_p and w_pq = exp(−a_p d(p, q)²)
    (the form: Işık et al., *Interactive Monte Carlo denoising*, SIGGRAPH 2021). With no bandwidth at the start it is
    average smoothing, with some it joins what is alike.

    Args:
        channels: C, of the features.
        kernel: k, odd.
        distance: `spatial` (between locations) or `feature` (between learned embeddings).
        learn: `shared` (one bandwidth for all locations), `bandwidth` (one for each) or `both` (with self-confidence).
        embedding: E, dimensions of the embeddings.
        bandwidth: of all locations at the start.
    """

    def __init__(
        self, channels: int, kernel: int, distance: str, learn: str, embedding: int, bandwidth: float = 0.0
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.start = bandwidth
        self.bandwidth = nn.Identity() if learn == "shared" else start_at_zero(nn.Conv2d(channels, 1, 1))
        self.shared = nn.Parameter(torch.zeros(1)) if learn == "shared" else None
        self.confidence = start_at_zero(nn.Conv2d(channels, 1, 1)) if learn == "both" else None
        self.embedding = nn.Conv2d(channels, embedding, 1, bias=False) if distance == "feature" else None
        self.per_location = _PER_LOCATION[learn]

    def forward(self, features: Tensor) -> Tensor:
        """Smooth features of shape (B, C, H, W); the shape stays."""
        return smooth(features, self.filter(features), self.kernel)

    def filter(self, features: Tensor) -> Filter:
        """The filter of each location of features of shape (B, C, H, W)."""
        seen = normalise(features.float())
        # Of one length whatever the channels: a step of the optimiser moves a head's answer by some ten times its rate.
        read = seen * (_LENGTH / features.shape[1] ** 0.5)
        ones = seen.new_ones(len(seen), 1, *seen.shape[2:])
        raw = ones * self.shared if self.shared is not None else self.bandwidth(read)
        return Filter(
            bandwidth=_clamp(self.start + raw, 0.0, _NARROWEST),
            confidence=ones if self.confidence is None else _clamp(1 + self.confidence(read), 0.0, 1.0),
            embedding=None if self.embedding is None else self.embedding(seen),
        )


def smooth(features: Tensor, filter_: Filter, kernel: int) -> Tensor:
    """Apply a filter to features of shape (B, C, H, W), one offset of the window at a time."""
    wide = features.float().contiguous(memory_format=torch.channels_last)  # a weight meets its C channels side by side
    total, weight = filter_.confidence * wide, filter_.confidence
    for neighbour, own in zip(_neighbours(wide, kernel), _neighbour_weights(filter_, kernel), strict=True):
        total, weight = total.add_(own * neighbour), weight + own
    smoothed = torch.where(weight < _NO_WEIGHT, wide, total / weight.clamp_min(_NO_WEIGHT))
    return smoothed.to(features.dtype)


def own_share(filter_: Filter, kernel: int) -> Tensor:
    """How much of itself each location keeps, in units of what an average would leave it: of shape (B, H, W).

    It is w_pp / Σ_q w_pq times the number of locations in the window, and 1 where the filter is an average; a location
    that is much like its surroundings, or not confident, keeps less than others.
    """
    window = 1 + sum(_neighbours(torch.ones_like(filter_.bandwidth[:1]), kernel))
    weight = filter_.confidence + sum(_neighbour_weights(filter_, kernel))
    share = torch.where(weight < _NO_WEIGHT, 1.0, filter_.confidence / weight.clamp_min(_NO_WEIGHT))
    return (window * share)[:, 0]


def weights_at(filter_: Filter, kernel: int, y: int, x: int) -> Tensor:
    """The weights with which location (y, x) averages its window, as `smooth` does: to be looked at.

    Args:
        filter_: of one image.
        kernel: k, odd.

    Returns:
        Of shape (k, k), summing to one; NaN outside the map.
    """
    around = [weight[0, 0, y, x] for weight in _neighbour_weights(filter_, kernel)]
    middle = len(around) // 2
    window = torch.stack([*around[:middle], filter_.confidence[0, 0, y, x], *around[middle:]])
    if window.sum() < _NO_WEIGHT:
        window = torch.zeros_like(window).index_fill_(0, window.new_tensor([middle], dtype=torch.int64), 1.0)
    window = (window / window.sum()).view(kernel, kernel)
    rows, columns = (torch.arange(kernel, device=window.device) + (centre - kernel // 2) for centre in (y, x))
    height, width = filter_.bandwidth.shape[2:]
    inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
    return window.masked_fill(~inside, torch.nan)


def normalise(features: Tensor) -> Tensor:
    """Each location's feature to mean 0 and deviation 1 over its channels, so that what reads it meets one scale.

    Args:
        features: of shape (B, C, H, W).
    """
    return F.layer_norm(features.movedim(1, -1), features.shape[1:2]).movedim(-1, 1)


def build_smoothing(params: SmoothingParams, channels: int) -> Smoothing:
    """The smoothing that the params name, for features of C channels."""
    if params.kind == "learnable":
        return LearnableSmoothing(
            channels, params.kernel, params.distance, params.learn, params.embedding_dim, params.initial_bandwidth
        )
    return AverageSmoothing(params.kernel if params.kind == "average" else 1)


def start_at_zero(layer: Layer) -> Layer:
    """Zero weight and bias: what the layer adds to starts unchanged."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _offsets(kernel: int) -> list[tuple[int, int]]:
    reach = range(-(kernel // 2), kernel // 2 + 1)
    return [(y, x) for y in reach for x in reach if (y, x) != (0, 0)]


def _neighbours(features: Tensor, kernel: int) -> Iterator[Tensor]:
    """For each offset the map that holds at p what `features` hold at p + offset, zero outside: views of one copy."""
    height, width = features.shape[2:]
    reach = kernel // 2
    padded = F.pad(features, (reach, reach, reach, reach))
    for y, x in _offsets(kernel):
        yield padded[:, :, reach + y : reach + y + height, reach + x : reach + x + width]


def _neighbour_weights(filter_: Filter, kernel: int) -> Iterator[Tensor]:
    """For each offset the weight of p's neighbour, not normalised, of shape (B, 1, H, W); zero outside the map."""
    inside = _neighbours(filter_.bandwidth.new_ones(1, 1, *filter_.bandwidth.shape[2:]), kernel)
    for exists, squared in zip(inside, _squared_distances(filter_, kernel), strict=True):
        yield exists * torch.exp(-filter_.bandwidth * squared)


def _squared_distances(filter_: Filter, kernel: int) -> Iterator[Tensor | float]:
    """For each offset the squared distance of p to its neighbour: of locations, or of their embeddings."""
    if filter_.embedding is None:
        yield from (float(y * y + x * x) for y, x in _offsets(kernel))
    else:
        for neighbour in _neighbours(filter_.embedding, kernel):
            yield (filter_.embedding - neighbour).square().sum(dim=1, keepdim=True)


class _Clamp(torch.autograd.Function):
    """Clamp whose gradient passes inside the bounds and, at or beyond one, where a descent step would lead inward."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(values > low, values < high)
        return values.clamp(low, high)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None, None]:
        [gradient] = gradients
        above_low, below_high = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient * ((above_low | (gradient < 0)) & (below_high | (gradient > 0))), None, None


def _clamp(values: Tensor, low: float, high: float) -> Tensor:
    clamped: Tensor = _Clamp.apply(values, low, high)
    return clamped
