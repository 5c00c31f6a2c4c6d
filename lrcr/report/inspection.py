"""What a model makes of one photo: its attention, what its graph joins and changes, the filters of its smoothing."""

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
from lrcr.models.smoothing import Filter, own_share, weights_at

Values = npt.NDArray[np.float32]
Location = tuple[int, int]
Window = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Spot:
    """A location of the map and what the model does there.

    Args:
        location: its row and column.
        weights: of its filter, of shape (k, k), NaN outside the map; None without learnable smoothing.
        edges: weights of its edges to all locations, of shape (H, W); None without a graph of edges.
    """

    location: Location
    weights: Values | None
    edges: Values | None


@dataclass(frozen=True, eq=False)
class Inspection:
    """The maps of one photo, each of shape (H, W); None where the model has no such thing, or the same everywhere.

    Args:
        photo: as the trunk sees it.
        plain: attention of the trunk's own features, as in HOW.
        attention: the model's own; another one only where graph or smoothing have a say in it.
        change: by how much the graph changes a feature, as a fraction of the feature's length.
        gate: what the graph multiplies attention with.
        share: what smoothing multiplies attention with, the share that each location keeps of itself.
        bandwidth: a of each location's filter.
        confidence: c of each location's filter.
        spots: the locations that are looked at closely.
        window: where the maps lie in the photo, inside the border that the model leaves aside: left, top, right and
            bottom as fractions of its width and height.
    """

    photo: Image.Image
    plain: Values
    attention: Values
    change: Values | None
    gate: Values | None
    share: Values | None
    bandwidth: Values | None
    confidence: Values | None
    spots: tuple[Spot, ...]
    window: Window = (0.0, 0.0, 1.0, 1.0)


def has_bandwidth_map(model: LocalModel) -> bool:
    """Whether the model's smoothing gives each location a bandwidth of its own."""
    return "bandwidth" in model.smoothing.per_location


@torch.inference_mode()
def look(model: LocalModel, photo: Photo, image_size: int, at: Sequence[tuple[float, float]] = ()) -> Inspection:
    """Look at one photo through a model in evaluation mode.

    Args:
        image_size: longest side in pixels; nothing is enlarged.
        at: spots, as x and y in pixels of the original photo, oriented. Without any four are chosen: the strongest
            location, those of largest and of smallest bandwidth, and another strong one; edges are those of the first.

    Raises:
        ImageError: the photo cannot be decoded.
        ParamsError: a spot lies outside the photo, or the model has nothing to show there.
    """
    loaded = load_image(photo.path, orient=photo.orient, box=photo.box)
    whole = model.backbone(prepare(loaded, image_size)[None].to(model.whitening.bias.device))
    features, context = crop_border(whole, model.border), model.context(whole)
    window = _window(whole.shape[2:], features.shape[2:])
    smoothing, graph = model.smoothing, model.graph
    filter_ = smoothing.filter(context.refined)
    if at:
        if filter_ is None and not graph.has_edges:
            raise ParamsError(f"{photo.path}: the model has neither filters nor edges to show at a spot; name no spot")
        locations = [_locate(spot, loaded, photo, window, features.shape[2:]) for spot in at]
    else:
        locations = _choose(model, context.attention[0], filter_)
    joined = locations if at else locations[:1]
    refines = not (graph.is_identity or model.graph_gates)
    return Inspection(
        photo=resize(loaded, image_size),
        window=window,
        plain=_as_values(l2_attention(features)[0]),
        attention=_as_values(context.attention[0]),
        change=_as_values(_relative_change(features, context.refined)) if refines else None,
        gate=_as_values(graph.gate(features)[0]) if model.graph_gates else None,
        share=_as_values(own_share(filter_, smoothing.kernel)[0]) if filter_ and model.share_attends else None,
        bandwidth=_as_values(filter_.bandwidth[0, 0]) if filter_ and "bandwidth" in smoothing.per_location else None,
        confidence=_as_values(filter_.confidence[0, 0]) if filter_ and "confidence" in smoothing.per_location else None,
        spots=tuple(_look_closely(model, features, filter_, place, place in joined) for place in locations),
    )


def _look_closely(
    model: LocalModel, features: Tensor, filter_: Filter | None, location: Location, joined: bool
) -> Spot:
    y, x = location
    weights = None if filter_ is None else _as_values(weights_at(filter_, model.smoothing.kernel, y, x))
    edges = model.graph.neighbourhood(features, y * features.shape[3] + x) if joined else None
    return Spot(location, weights, None if edges is None else _as_values(edges))


def _choose(model: LocalModel, attention: Tensor, filter_: Filter | None) -> list[Location]:
    """The spots to show where none are asked for, as far apart as a filter's window is wide, while there is room.

    Those at the border are not taken: their windows are not whole.
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
        places = ((int(y), int(x)) for y, x in inner[order])
        chosen += islice((place for place in places if _is_apart(place, chosen, kernel)), 1)
    return chosen


def _inner_locations(shape: Sequence[int], margin: int) -> npt.NDArray[np.int64]:
    """Rows and columns of a map's locations, of shape (N, 2), without a margin where something is left without it."""
    margins = [margin if size > 2 * margin else 0 for size in shape]
    rows, columns = (np.arange(cut, size - cut) for size, cut in zip(shape, margins, strict=True))
    return np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)


def _is_apart(place: Location, others: Sequence[Location], distance: int) -> bool:
    return all(max(abs(place[0] - y), abs(place[1] - x)) >= distance for y, x in others)


def _window(whole: Sequence[int], inner: Sequence[int]) -> Window:
    """Where a map of the `inner` shape (H, W) lies in the middle of one of the `whole` shape."""
    top, left = ((all_ - kept) / 2 / all_ for all_, kept in zip(whole, inner, strict=True))
    return left, top, 1 - left, 1 - top


def _locate(
    spot: tuple[float, float], loaded: LoadedImage, photo: Photo, window: Window, shape: Sequence[int]
) -> Location:
    """The location of a map of shape (H, W), which lies in the window, whose cell holds a spot of the photo."""
    width, height = loaded.pixels.size
    x, y = spot[0] - loaded.origin[0], spot[1] - loaded.origin[1]
    if not (0 <= x < width and 0 <= y < height):
        size = f"{width} × {height} pixels"
        raise ParamsError(f"{photo.path}: the spot {spot[0]:g},{spot[1]:g} lies outside the photo ({size}); move it")
    left, top, right, bottom = window
    across, down = (x / width - left) / (right - left), (y / height - top) / (bottom - top)
    if not (0 <= across < 1 and 0 <= down < 1):
        raise ParamsError(
            f"{photo.path}: the spot {spot[0]:g},{spot[1]:g} lies at the border that the model leaves aside; move it"
        )
    return int(down * shape[0]), int(across * shape[1])


def _relative_change(before: Tensor, after: Tensor) -> Tensor:
    """Length of the change over the length before: features of shape (1, C, H, W) → of shape (H, W)."""
    return l2_attention(after - before)[0] / l2_attention(before)[0].clamp_min(1e-12)


def _as_values(values: Tensor) -> Values:
    result: Values = values.float().cpu().numpy()
    return result
