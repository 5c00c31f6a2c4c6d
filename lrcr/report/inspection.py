"""Inspection of a model on one photo: attention, the effect and the edges of the graph, the filters of smoothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from lrcr.data.dataset import Photo
from lrcr.data.images import LoadedImage, load_image, prepare, resize
from lrcr.errors import ParamsError
from lrcr.models.attention import l2_attention
from lrcr.models.backbone import crop_border
from lrcr.models.local import LocalModel
from lrcr.models.smoothing import Filter, centre_share
from lrcr.models.windows import weights_at

Values = npt.NDArray[np.float32]
Location = tuple[int, int]
Window = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class InspectedLocation:
    """A location of the map, with the weights of its filter and of its edges.

    Args:
        location: its row and column in the map.
        weights: of its smoothing filter, of shape (k, k), NaN outside the map; None without learnable smoothing.
        edges: the weights of its edges to all locations, of shape (H, W); None if they were not computed, or without a
            graph.
    """

    location: Location
    weights: Values | None
    edges: Values | None


@dataclass(frozen=True, eq=False)
class Inspection:
    """The maps of one photo, each of shape (H, W); None if the model has no such map, or one value for all locations.

    Args:
        photo: resized to the input size of the model.
        feature_norm: the L2 norm of the backbone's features: the attention of HOW.
        attention: of the model; it differs from `feature_norm` only if graph or smoothing change it.
        change: the norm of the change that the graph makes to a feature, divided by the norm of the feature.
        gate: the factor of attention that the graph gives.
        share: the factor of attention that smoothing gives (`lrcr.models.smoothing.centre_share`).
        bandwidth: a, of the filter of each location.
        confidence: c, of the filter of each location.
        locations: those inspected in detail.
        window: the part of the photo that the maps cover, without the border that the model crops: left, top, right and
            bottom as fractions of the photo's width and height.
    """

    photo: Image.Image
    feature_norm: Values
    attention: Values
    change: Values | None
    gate: Values | None
    share: Values | None
    bandwidth: Values | None
    confidence: Values | None
    locations: tuple[InspectedLocation, ...]
    window: Window = (0.0, 0.0, 1.0, 1.0)


def has_bandwidth_map(model: LocalModel) -> bool:
    """Whether the smoothing of the model predicts a bandwidth for each location."""
    return "bandwidth" in model.smoothing.per_location


@torch.inference_mode()
def inspect_photo(
    model: LocalModel, photo: Photo, image_size: int, at: Sequence[tuple[float, float]] = ()
) -> Inspection:
    """Compute the maps of one photo, and the filters and edges of some locations.

    Args:
        model: in evaluation mode.
        image_size: longest side in pixels; nothing is enlarged.
        at: points of the locations to inspect in detail, as x and y in pixels of the original photo, oriented. If it
            is empty, four locations are chosen: the strongest, those with the largest and with the smallest bandwidth,
            and another strong one; edges are computed for the first of these.

    Raises:
        ImageError: the photo cannot be decoded.
        ParamsError: a point is outside the photo or in its cropped border, or the model has neither filters nor edges.
    """
    loaded = load_image(photo.path, orient=photo.orient, box=photo.box, tolerate_truncated=photo.tolerate_truncated)
    whole = model.backbone(prepare(loaded, image_size)[None].to(model.whitening.bias.device))
    features, context = crop_border(whole, model.border), model.context(whole)
    window = _window(whole.shape[2:], features.shape[2:])
    filter_ = context.filter
    if at:
        _require_filters_or_edges(model, filter_, photo)
        locations = [_locate(point, loaded, photo, window, features.shape[2:]) for point in at]
    else:
        locations = _choose_locations(model, context.attention[0], filter_)
    with_edges = locations if at else locations[:1]
    change, gate = _graph_maps(model, features, context.refined)
    share, bandwidth, confidence = _filter_maps(model, filter_)
    return Inspection(
        photo=resize(loaded, image_size),
        window=window,
        feature_norm=_as_values(l2_attention(features)[0]),
        attention=_as_values(context.attention[0]),
        change=change,
        gate=gate,
        share=share,
        bandwidth=bandwidth,
        confidence=confidence,
        locations=tuple(
            _inspect_location(model, features, filter_, location, location in with_edges) for location in locations
        ),
    )


def _graph_maps(model: LocalModel, features: Tensor, refined: Tensor) -> tuple[Values | None, Values | None]:
    """The maps `change` and `gate` of an `Inspection`."""
    if model.graph.is_identity:
        return None, None
    if model.graph_gates:
        return None, _as_values(model.graph.gate(features)[0])
    return _as_values(_relative_change(features, refined)), None


def _filter_maps(model: LocalModel, filter_: Filter | None) -> tuple[Values | None, Values | None, Values | None]:
    """The maps `share`, `bandwidth` and `confidence` of an `Inspection`."""
    if filter_ is None:
        return None, None, None
    predicted = model.smoothing.per_location
    return (
        _as_values(centre_share(filter_, model.smoothing.kernel)[0]) if model.centre_share_gates else None,
        _as_values(filter_.bandwidth[0, 0]) if "bandwidth" in predicted else None,
        _as_values(filter_.confidence[0, 0]) if "confidence" in predicted else None,
    )


def _inspect_location(
    model: LocalModel, features: Tensor, filter_: Filter | None, location: Location, with_edges: bool
) -> InspectedLocation:
    y, x = location
    weights = None if filter_ is None else _as_values(weights_at(filter_, model.smoothing.kernel, y, x))
    edges = model.graph.neighbourhood(features, y * features.shape[3] + x) if with_edges else None
    return InspectedLocation(location, weights, None if edges is None else _as_values(edges))


def _choose_locations(model: LocalModel, attention: Tensor, filter_: Filter | None) -> list[Location]:
    """Choose the locations to inspect: at least the width of a filter's window apart, as many as there is room for.

    Locations near the border are not chosen unless the map is very small: part of their window is outside the map.
    """
    kernel = 3 if filter_ is None else model.smoothing.kernel
    inner = _inner_locations(attention.shape, kernel // 2)
    strength = attention.cpu().numpy()[tuple(inner.T)]
    orders = [np.argsort(-strength, kind="stable")]
    if filter_ is not None:
        bandwidth = filter_.bandwidth[0, 0].cpu().numpy()[tuple(inner.T)]
        orders += [np.lexsort((-strength, -bandwidth)), np.lexsort((-strength, bandwidth)), orders[0]]
    elif not model.graph.has_edges:
        return []
    chosen: list[Location] = []
    for order in orders:
        candidates = ((int(y), int(x)) for y, x in inner[order])
        chosen += islice((location for location in candidates if _is_apart(location, chosen, kernel)), 1)
    return chosen


def _inner_locations(shape: Sequence[int], margin: int) -> npt.NDArray[np.int64]:
    """Rows and columns, of shape (N, 2), of the locations of a map without its margin; a small side has no margin."""
    margins = [margin if size > 2 * margin else 0 for size in shape]
    rows, columns = (np.arange(cut, size - cut) for size, cut in zip(shape, margins, strict=True))
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


def _is_apart(location: Location, others: Sequence[Location], distance: int) -> bool:
    return all(max(abs(location[0] - y), abs(location[1] - x)) >= distance for y, x in others)


def _require_filters_or_edges(model: LocalModel, filter_: Filter | None, photo: Photo) -> None:
    if filter_ is None and not model.graph.has_edges:
        raise ParamsError(f"{photo.path}: the model has neither filters nor edges to show at a point; name no point")


def _window(whole: Sequence[int], inner: Sequence[int]) -> Window:
    """The part of a map of the shape `whole` (H, W) that its centred crop of the shape `inner` covers."""
    top, left = ((all_ - kept) / 2 / all_ for all_, kept in zip(whole, inner, strict=True))
    return left, top, 1 - left, 1 - top


def _locate(
    point: tuple[float, float], loaded: LoadedImage, photo: Photo, window: Window, shape: Sequence[int]
) -> Location:
    """The location of a map of shape (H, W), which covers the window of the photo, whose cell contains the point."""
    width, height = loaded.pixels.size
    x, y = point[0] - loaded.origin[0], point[1] - loaded.origin[1]
    if not (0 <= x < width and 0 <= y < height):
        size = f"{width} × {height} pixels"
        raise ParamsError(f"{photo.path}: the point {point[0]:g},{point[1]:g} is outside the photo ({size}); move it")
    left, top, right, bottom = window
    across, down = (x / width - left) / (right - left), (y / height - top) / (bottom - top)
    if not (0 <= across < 1 and 0 <= down < 1):
        raise ParamsError(
            f"{photo.path}: the point {point[0]:g},{point[1]:g} is in the border that the model crops; move it"
        )
    return int(down * shape[0]), int(across * shape[1])


def _relative_change(before: Tensor, after: Tensor) -> Tensor:
    """The norm of the change divided by the norm before it: features of shape (1, C, H, W) → (H, W)."""
    return l2_attention(after - before)[0] / l2_attention(before)[0].clamp_min(1e-12)


def _as_values(values: Tensor) -> Values:
    result: Values = values.float().cpu().numpy()
    return result
