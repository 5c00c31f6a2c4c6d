"""Smoothing of some locations of a map, each from the window around it: extraction smooths only what it selects."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lrcr.models.smoothing import MIN_WEIGHT, Filter


def smooth_at(features: Tensor, filter_: Filter | None, kernel: int, rows: Tensor) -> Tensor:
    """Smooth some locations of a map: the same result as that of the whole map there.

    Args:
        features: of one image, of shape (1, C, H, W).
        filter_: None: a plain average.
        kernel: k, odd.
        rows: the locations, y · W + x, of shape (n,).

    Returns:
        Of shape (n, C).
    """
    nodes = features[0].flatten(1).T.float().contiguous()  # a view of a map whose channels are last
    if kernel == 1:
        return nodes[rows].to(features.dtype)
    window, inside = _windows(features.shape[2:], kernel, rows)
    weights = _window_weights(filter_, window, inside)
    return F.embedding_bag(window, nodes, per_sample_weights=weights, mode="sum").to(features.dtype)


def weights_at(filter_: Filter, kernel: int, y: int, x: int) -> Tensor:
    """The weights with which `smooth` averages the window of location (y, x), for inspection.

    Args:
        filter_: of one image.
        kernel: k, odd.

    Returns:
        Of shape (k, k), summing to one; NaN outside the map.
    """
    size = filter_.bandwidth.shape[2:]
    window, inside = _windows(size, kernel, filter_.bandwidth.new_tensor([y * size[1] + x], dtype=torch.int64))
    weights = _window_weights(filter_, window, inside)
    return weights.masked_fill(~inside, torch.nan).view(kernel, kernel)


def _window_weights(filter_: Filter | None, window: Tensor, inside: Tensor) -> Tensor:
    """The weights of the locations of each window, which sum to one.

    Args:
        filter_: of one image; None: a plain average.
        window: the locations of each window, y · W + x, of shape (n, k²), the centre in the middle.
        inside: whether they are inside the map, of the same shape.

    Returns:
        Of the same shape, zero outside the map.
    """
    if filter_ is None:
        return inside / inside.sum(dim=1, keepdim=True)
    middle = window.shape[1] // 2
    rows = window[:, middle]
    if filter_.embedding is None:
        reach = math.isqrt(window.shape[1]) // 2
        side = torch.arange(-reach, reach + 1, device=window.device).square()
        squared = (side[:, None] + side).flatten()[None]
    else:
        embedding = filter_.embedding[0].flatten(1).T
        squared = (embedding[rows, None] - F.embedding(window, embedding)).square().sum(dim=2)
    weights = inside * torch.exp(-filter_.bandwidth.flatten()[rows, None] * squared)
    centre = torch.arange(window.shape[1], device=window.device) == middle
    weights = torch.where(centre, filter_.confidence.flatten()[rows, None], weights)
    total = weights.sum(dim=1, keepdim=True)
    return torch.where(total < MIN_WEIGHT, centre.to(weights), weights / total.clamp_min(MIN_WEIGHT))


def _windows(size: Sequence[int], kernel: int, rows: Tensor) -> tuple[Tensor, Tensor]:
    """The k² locations of the window around each row of a map of (H, W), and which are inside, of shape (n, k²).

    A location outside the map is replaced by the nearest inside.
    """
    height, width = size
    reach = torch.arange(-(kernel // 2), kernel // 2 + 1, device=rows.device)
    y, x = (rows // width)[:, None] + reach, (rows % width)[:, None] + reach
    inside = ((y >= 0) & (y < height))[:, :, None] & ((x >= 0) & (x < width))[:, None]
    window = y.clamp(0, height - 1)[:, :, None] * width + x.clamp(0, width - 1)[:, None]
    return window.flatten(1), inside.flatten(1)
