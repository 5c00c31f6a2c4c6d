"""Smoothing of a feature map: each feature is replaced by a weighted average over its window."""

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

MIN_WEIGHT = 1e-6  # if the weights of a window sum to less, the location keeps its own feature
_HEAD_INPUT_NORM = 4.0  # L2 norm of the input of the heads
_MAX_BANDWIDTH = 1e6  # finite: an infinite bandwidth times a distance of zero is NaN
_PER_LOCATION: dict[str, frozenset[Literal["bandwidth", "confidence"]]] = {
    "shared": frozenset(),
    "bandwidth": frozenset({"bandwidth"}),
    "both": frozenset({"bandwidth", "confidence"}),
}


class Smoothing(nn.Module, ABC):
    """Replaces each feature of a map by a weighted average of the k × k window around it.

    Attributes:
        kernel: k, odd.
        per_location: the parameters of the filter that are predicted for each location.
    """

    kernel: int
    per_location: frozenset[Literal["bandwidth", "confidence"]] = frozenset()

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Smooth features of shape (B, C, H, W); returns the same shape."""

    def filter(self, features: Tensor) -> "Filter | None":
        """The Gaussian filter of each location of features of shape (B, C, H, W); None for a plain average."""
        return None


class AverageSmoothing(Smoothing):
    """The smoothing of HOW (Tolias et al., ECCV 2020): the mean over the k × k window inside the map.

    Args:
        kernel: k, odd; 1 does not change the map.
    """

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, features: Tensor) -> Tensor:
        """Smooth features of shape (B, C, H, W); returns the same shape."""
        return F.avg_pool2d(features, self.kernel, stride=1, padding=self.kernel // 2, count_include_pad=False)


@dataclass(frozen=True)
class Filter:
    """The parameters of the Gaussian filter of each location.

    Args:
        bandwidth: a ≥ 0, of shape (B, 1, H, W); the larger, the narrower is the filter.
        confidence: c in [0, 1], the weight of the centre, of shape (B, 1, H, W).
        embedding: of shape (B, E, H, W); distances are between embeddings. None: distances are between positions.
    """

    bandwidth: Tensor
    confidence: Tensor
    embedding: Tensor | None

    def of_image(self, row: int) -> "Filter":
        """The filters of one image of the batch, with B = 1."""
        one = slice(row, row + 1)
        return Filter(
            self.bandwidth[one], self.confidence[one], None if self.embedding is None else self.embedding[one]
        )


class LearnableSmoothing(Smoothing):
    """A Gaussian filter for each location; its parameters are predicted from the feature of the location.

    y_p = Σ_q w_pq x_q / Σ_q w_pq over the k × k window inside the map, with w_pp = c_p (self-confidence) and
    w_pq = exp(−a_p d(p, q)²) otherwise (a: bandwidth, d: distance). The form of the weights is that of Işık et al.,
    *Interactive Monte Carlo denoising using affinity of neural features*, SIGGRAPH 2021. Before training c is 1 and a
    is `bandwidth`: with 0 the result is average smoothing; with a larger value a neighbour q has the smaller weight,
    the larger d(p, q) is.

    Args:
        channels: C, of the features.
        kernel: k, odd.
        distance: `spatial` (between positions) or `feature` (between learned embeddings of the features).
        learn: `shared` (one bandwidth for all locations), `bandwidth` (one for each) or `both` (with self-confidence).
        embedding: E, dimensions of the embeddings.
        bandwidth: initial bandwidth of all locations, ≥ 0.

    Example:
        >>> import torch
        >>> smoothing = LearnableSmoothing(8, kernel=3, distance="spatial", learn="both", embedding=4)
        >>> features = torch.rand(2, 8, 5, 6)
        >>> torch.allclose(smoothing(features), AverageSmoothing(3)(features))
        True
    """

    def __init__(
        self, channels: int, kernel: int, distance: str, learn: str, embedding: int, bandwidth: float = 0.0
    ) -> None:
        super().__init__()
        self.kernel = kernel
        self.start = bandwidth
        self.bandwidth = nn.Identity() if learn == "shared" else zero_init(nn.Conv2d(channels, 1, 1))
        self.shared = nn.Parameter(torch.zeros(1)) if learn == "shared" else None
        self.confidence = zero_init(nn.Conv2d(channels, 1, 1)) if learn == "both" else None
        self.embedding = nn.Conv2d(channels, embedding, 1, bias=False) if distance == "feature" else None
        self.per_location = _PER_LOCATION[learn]

    def forward(self, features: Tensor) -> Tensor:
        """Smooth features of shape (B, C, H, W); returns the same shape."""
        return smooth(features, self.filter(features), self.kernel)

    def filter(self, features: Tensor) -> Filter:
        """The filter of each location of features of shape (B, C, H, W)."""
        normalised = normalise(features.float())
        # The norm is the same for all C: a step of Adam changes a head's output by about ten times its learning rate.
        head_input = normalised * (_HEAD_INPUT_NORM / features.shape[1] ** 0.5)
        ones = normalised.new_ones(len(normalised), 1, *normalised.shape[2:])
        raw = ones * self.shared if self.shared is not None else self.bandwidth(head_input)
        return Filter(
            bandwidth=_clamp(self.start + raw, 0.0, _MAX_BANDWIDTH),
            confidence=ones if self.confidence is None else _clamp(1 + self.confidence(head_input), 0.0, 1.0),
            embedding=None if self.embedding is None else self.embedding(normalised),
        )


def smooth(features: Tensor, filter_: Filter, kernel: int) -> Tensor:
    """Average the window of each location of features of shape (B, C, H, W), one offset of the window at a time."""
    wide = features.float().contiguous(memory_format=torch.channels_last)  # the C channels that share a weight
    total, weight = filter_.confidence * wide, filter_.confidence
    for neighbour, factor in zip(_neighbours(wide, kernel), _neighbour_weights(filter_, kernel), strict=True):
        total, weight = total.add_(factor * neighbour), weight + factor
    smoothed = torch.where(weight < MIN_WEIGHT, wide, total / weight.clamp_min(MIN_WEIGHT))
    return smoothed.to(features.dtype)


def centre_share(filter_: Filter, kernel: int) -> Tensor:
    """The share of the centre in each weighted average, relative to its share in a plain average: of shape (B, H, W).

    It is w_pp / Σ_q w_pq times the number of locations in the window: 1 if the filter is an average. It is smaller for
    a location with similar neighbours than for one with different neighbours, and smaller with low self-confidence.
    """
    window = 1 + sum(_neighbours(torch.ones_like(filter_.bandwidth[:1]), kernel))
    weight = filter_.confidence + sum(_neighbour_weights(filter_, kernel))
    share = torch.where(weight < MIN_WEIGHT, 1.0, filter_.confidence / weight.clamp_min(MIN_WEIGHT))
    return (window * share)[:, 0]


def normalise(features: Tensor) -> Tensor:
    """Normalise the feature of each location to mean 0 and standard deviation 1 over its channels.

    Args:
        features: of shape (B, C, H, W).
    """
    return F.layer_norm(features.movedim(1, -1), features.shape[1:2]).movedim(-1, 1)


def build_smoothing(params: SmoothingParams, channels: int) -> Smoothing:
    """The smoothing that the params describe, for features of C channels."""
    if params.kind == "learnable":
        return LearnableSmoothing(
            channels, params.kernel, params.distance, params.learn, params.embedding_dim, params.initial_bandwidth
        )
    return AverageSmoothing(params.kernel if params.kind == "average" else 1)


def zero_init(layer: Layer) -> Layer:
    """Set the weight and the bias of a layer to zero and return it: its output is zero before training."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _offsets(kernel: int) -> list[tuple[int, int]]:
    reach = range(-(kernel // 2), kernel // 2 + 1)
    return [(y, x) for y in reach for x in reach if (y, x) != (0, 0)]


def _neighbours(features: Tensor, kernel: int) -> Iterator[Tensor]:
    """For each offset, the features at p + offset for each location p, zero outside the map; views of one copy."""
    height, width = features.shape[2:]
    reach = kernel // 2
    padded = F.pad(features, (reach, reach, reach, reach))
    for y, x in _offsets(kernel):
        yield padded[:, :, reach + y : reach + y + height, reach + x : reach + x + width]


def _neighbour_weights(filter_: Filter, kernel: int) -> Iterator[Tensor]:
    """For each offset, the weight of p's neighbour, not normalised, of shape (B, 1, H, W); zero outside the map."""
    inside = _neighbours(filter_.bandwidth.new_ones(1, 1, *filter_.bandwidth.shape[2:]), kernel)
    for exists, squared in zip(inside, _squared_distances(filter_, kernel), strict=True):
        yield exists * torch.exp(-filter_.bandwidth * squared)


def _squared_distances(filter_: Filter, kernel: int) -> Iterator[Tensor | float]:
    """For each offset, the squared distance of p to its neighbour: between positions, or between embeddings."""
    if filter_.embedding is None:
        yield from (float(y * y + x * x) for y, x in _offsets(kernel))
    else:
        for neighbour in _neighbours(filter_.embedding, kernel):
            yield (filter_.embedding - neighbour).square().sum(dim=1, keepdim=True)


class _Clamp(torch.autograd.Function):
    """Clamp with a straight-through gradient at and beyond a bound if a descent step would lead inward."""

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
