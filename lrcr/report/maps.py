"""Pictures of maps: a photo, and beside it what a model makes of it, panel by panel."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import SubFigure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from matplotlib.ticker import LinearLocator, MaxNLocator
from PIL import Image, ImageOps

from lrcr.report.inspection import Inspection, Spot, Values
from lrcr.report.picture import blank_figure, picture_format, save_figure

_SUBJECT = "maps"
_WIDTH, _TITLE, _FILTER = 3.7, 0.45, 2.2  # inches: a panel's width, its title's height, the height of the filters
_ABREAST = 4  # filters, at least
_INK = "#1c1f24"
_NAME = 42  # characters of a photo's name
_VEILED = "YlOrRd"
_FRAME = "#2563eb"
_FADED = (-80, 255)  # values that are black and white, of a grey photo below a map
_OUTSIDE = "#d5d9de"  # cells of a window beyond the map
_SAME = 1e-6  # difference of strengths that nobody sees


@dataclass(frozen=True, eq=False)
class _Panel:
    """A map to be drawn.

    Args:
        values: of shape (H, W).
        bounds: of the colours; values beyond them take the last one.
        unit: of the values.
        veil: whether the photo shows through, the more the smaller the value.
        spot: the location to be marked.
        of: what it is a map of, where that is not the model's insight.
    """

    title: str
    values: Values
    bounds: tuple[float, float]
    colours: str
    unit: str = ""
    veil: bool = False
    spot: Spot | None = None
    of: Inspection | None = None


def draw_maps(path: Path, name: str, insight: Inspection, baseline: Inspection | None = None) -> None:
    """Draw the maps of one photo into one picture, atomically; what the model does not have is left out.

    Args:
        path: where the picture goes: .png, .jpg or .jpeg.
        name: of the photo, its title.
        baseline: the same photo seen by another model, whose attention stands beside the model's; without it the
            attention of the trunk's own features does, where it differs.

    Raises:
        ParamsError: another suffix.
    """
    picture_format(path, _SUBJECT)
    panels = [*_attention(insight, baseline), *_context(insight), *_edges(insight)]
    columns = _count_columns(len(panels) + 1)
    rows = -(-(len(panels) + 1) // columns)
    filtered = [spot for spot in insight.spots if spot.weights is not None]
    heights = [rows * (_WIDTH * 0.8 * min(max(_slenderness(insight), 0.15), 1.6) + _TITLE)]
    heights += [_FILTER * -(-len(filtered) // max(columns, _ABREAST))] if filtered else []
    figure = blank_figure(_WIDTH * columns, sum(heights))
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    axes = _make_axes(parts[0], len(panels) + 1, columns)
    _show_photo(axes[0], name, insight)
    for axis, panel in zip(axes[1:], panels, strict=True):
        _show_panel(axis, panel, insight)
    if filtered:
        _show_filters(_make_axes(parts[1], len(filtered), max(columns, _ABREAST)), insight, filtered)
    save_figure(path, figure, _SUBJECT)


def _count_columns(panels: int) -> int:
    """At most four, with as few empty places as three or four columns leave."""
    return panels if panels <= 4 else min(4, 3, key=lambda columns: -panels % columns)


def _make_axes(part: SubFigure, count: int, columns: int) -> list[Axes]:
    axes = part.subplots(-(-count // columns), columns, squeeze=False).ravel().tolist()
    for axis in axes[count:]:
        axis.remove()
    return axes[:count]


def _slenderness(insight: Inspection) -> float:
    return insight.photo.height / insight.photo.width


def _attention(insight: Inspection, baseline: Inspection | None) -> list[_Panel]:
    """Both attentions and their difference, or only one where they are alike."""
    own = _as_strength(insight.attention)
    other = _as_strength(insight.plain if baseline is None else baseline.attention)
    before, after = ("before", "after") if baseline is None else ("baseline", "model")
    of_what = "{} context" if baseline is None else "of the {}"
    bounds = (min(float(own.min()), float(other.min())), 1.0)
    comparable = own.shape == other.shape and (baseline is None or baseline.window == insight.window)
    if comparable and np.abs(own - other).max() < _SAME:
        alike = "" if baseline is None else ", the baseline's as well"
        return [_Panel(f"attention{alike}", own, _widen(*bounds), _VEILED, veil=True)]
    panels = [_Panel(f"attention {of_what.format(before)}", other, bounds, _VEILED, veil=True, of=baseline)]
    panels.append(_Panel(f"attention {of_what.format(after)}", own, bounds, _VEILED, veil=True))
    if comparable:
        most = float(np.abs(own - other).max())
        panels.append(_Panel(f"attention: {after} − {before}", own - other, (-most, most), "RdBu_r"))
    return panels


def _context(insight: Inspection) -> list[_Panel]:
    named = {
        "relative change by the graph": insight.change,
        "gate of the graph": insight.gate,
        "share kept by smoothing (× average)": insight.share,
        "self-confidence c": insight.confidence,
        "bandwidth a (larger is narrower)": insight.bandwidth,
    }
    return [
        _Panel(title, values, _widen(float(values.min()), float(values.max())), "viridis")
        for title, values in named.items()
        if values is not None
    ]


def _edges(insight: Inspection) -> list[_Panel]:
    """The edges of each spot that has some; the colours end at the largest weight to another location."""
    panels = []
    for number, spot in enumerate(insight.spots, 1):
        if spot.edges is not None:
            percent = 100 * spot.edges
            others = percent.copy()
            others[spot.location] = 0
            bounds = _widen(0.0, float(others.max()))
            panels.append(_Panel(f"edges of {number}", percent, bounds, _VEILED, "%", veil=True, spot=spot))
    return panels


def _as_strength(attention: Values) -> Values:
    return attention / max(float(attention.max()), 1e-12)


def _widen(low: float, high: float) -> tuple[float, float]:
    """The bounds as they are; where they are one value, from zero to it."""
    if high - low > _SAME:
        return low, high
    return 0.0, high if high > _SAME else 1.0


def _show_photo(axis: Axes, name: str, insight: Inspection) -> None:
    _lay_photo(axis, insight.photo)
    _head(axis, name if len(name) <= _NAME else f"{name[: _NAME // 3]}…{name[-_NAME // 2 :]}")
    axis.set_axis_off()
    for number, spot in enumerate(insight.spots, 1):
        _mark(axis, insight, spot, str(number))


def _mark(axis: Axes, insight: Inspection, spot: Spot, text: str) -> None:
    """A numbered disc at the centre of the spot's location."""
    left, top, width, height = _cell(insight, spot)
    x, y = left + width / 2, top + height / 2
    axis.scatter([x], [y], s=130, c="#ffffff", edgecolors=_INK, linewidths=1.2, zorder=4)
    axis.annotate(text, (x, y), ha="center", va="center_baseline", fontsize=8, zorder=5)


def _frame(axis: Axes, insight: Inspection, spot: Spot) -> None:
    """Outline the cell of the spot's location."""
    left, top, width, height = _cell(insight, spot)
    axis.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=_FRAME, linewidth=2))


def _cell(insight: Inspection, spot: Spot) -> tuple[float, float, float, float]:
    """Left, top, width and height of the spot's location in the photo, pixels."""
    left, right, bottom, top = _extent(insight)
    height, width = (bottom - top) / insight.attention.shape[0], (right - left) / insight.attention.shape[1]
    return left + spot.location[1] * width, top + spot.location[0] * height, width, height


def _extent(insight: Inspection) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of the maps in the photo, pixels."""
    (left, top, right, bottom), (width, height) = insight.window, insight.photo.size
    return left * width, right * width, bottom * height, top * height


def _lay_photo(axis: Axes, photo: Image.Image, bounds: tuple[int, int] = (0, 255)) -> None:
    """Lay a photo under what follows; a grey one with these values as black and white."""
    axis.imshow(photo, cmap="gray", vmin=bounds[0], vmax=bounds[1], extent=(0, photo.width, photo.height, 0))


def _show_panel(axis: Axes, panel: _Panel, insight: Inspection) -> None:
    _lay_photo(axis, ImageOps.grayscale(insight.photo), _FADED)
    colours = _veiled(panel.colours) if panel.veil else matplotlib.colormaps[panel.colours]
    low, high = panel.bounds
    image = axis.imshow(
        panel.values, cmap=colours, vmin=low, vmax=high, extent=_extent(panel.of or insight), interpolation="nearest"
    )
    axis.set(xlim=(0, insight.photo.width), ylim=(insight.photo.height, 0))
    _head(axis, panel.title)
    axis.set_axis_off()
    _add_bar(axis, image, panel.unit, _slenderness(insight), beyond=bool(panel.values.max() > high))
    if panel.spot is not None:
        _frame(axis, insight, panel.spot)


def _head(axis: Axes, title: str) -> None:
    axis.set_title(title, fontsize=10, parse_math=False)


def _veiled(name: str) -> ListedColormap:
    """A colour map that lets the photo through, the more the smaller the value."""
    colours = matplotlib.colormaps[name](np.linspace(0, 1, 256))
    colours[:, 3] = np.linspace(0.0, 0.9, 256)
    return ListedColormap(colours)


def _add_bar(axis: Axes, image: AxesImage, unit: str, slenderness: float, *, beyond: bool) -> None:
    """A colour bar as high as the panel, close to its right edge.

    Args:
        unit: "%" or none, written behind each number.
        slenderness: height by width of the panel.
        beyond: whether there are values above the bounds.
    """
    place = axis.inset_axes((1.03, 0.0, 0.05 * max(1.0, slenderness / 1.6), 1.0))
    bar = axis.figure.colorbar(
        image,
        cax=place,
        extend="max" if beyond else "neither",
        ticks=MaxNLocator(5) if slenderness > 0.4 else LinearLocator(2),
        format=f"%.3g{unit.replace('%', '%%')}",
    )
    bar.ax.tick_params(labelsize=8)


def _show_filters(axes: Sequence[Axes], insight: Inspection, spots: Sequence[Spot]) -> None:
    """The weights of each spot's filter, as a small map of its own; all share their colours."""
    percents = [100 * spot.weights for spot in spots if spot.weights is not None]
    most = max(float(np.nanmax(percent)) for percent in percents)
    for axis, spot, percent in zip(axes, spots, percents, strict=True):
        image = axis.imshow(percent, cmap="viridis", vmin=0, vmax=most)
        axis.set_facecolor(_OUTSIDE)
        axis.set_xticks([])
        axis.set_yticks([])
        _head(axis, f"filter of {insight.spots.index(spot) + 1}{_settings(insight, spot)}")
        _write_weights(axis, percent, most)
    _add_bar(axes[-1], image, "%", 1.0, beyond=False)


def _settings(insight: Inspection, spot: Spot) -> str:
    named = {"a": insight.bandwidth, "c": insight.confidence}
    known = [f"{name} = {values[spot.location]:.2g}" for name, values in named.items() if values is not None]
    return f": {', '.join(known)}" if known else ""


def _write_weights(axis: Axes, percent: Values, most: float) -> None:
    """Write each weight into its cell, where there is room."""
    if len(percent) > 5:
        return
    for (y, x), weight in np.ndenumerate(percent):
        if not np.isnan(weight):
            ink = _INK if weight > 0.6 * most else "#ffffff"
            axis.text(x, y, f"{weight:.0f}", color=ink, fontsize=8, ha="center", va="center_baseline")
