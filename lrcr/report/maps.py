"""Pictures of maps: a photo, and one panel for each map that a model computes of it."""

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

from lrcr.report.inspection import InspectedLocation, Inspection, Values
from lrcr.report.picture import blank_figure, picture_format, save_figure

_SUBJECT = "maps"
_WIDTH, _TITLE, _FILTER = 3.7, 0.45, 2.2  # inches: width of a panel, height of its title, height of a filter
_FILTERS_PER_ROW = 4  # at least
_INK = "#1c1f24"
_MAX_NAME = 42  # characters of a photo's name
_STRENGTH_COLOURS = "YlOrRd"
_OUTLINE_COLOUR = "#2563eb"
_FADED_RANGE = (-80, 255)  # grey values that are shown as black and white, of the photo below a map
_OUTSIDE_COLOUR = "#d5d9de"  # cells of a window that are outside the map
_INVISIBLE = 1e-6  # differences of strength below this are not visible


@dataclass(frozen=True, eq=False)
class _Panel:
    """A map to draw.

    Args:
        values: of shape (H, W).
        bounds: of the colour map; values outside them get its first or last colour.
        unit: of the values.
        transparent: whether the photo is visible below small values.
        location: the location whose cell is outlined.
        source: the inspection that the map is from, if it is not that of the model.
    """

    title: str
    values: Values
    bounds: tuple[float, float]
    colours: str
    unit: str = ""
    transparent: bool = False
    location: InspectedLocation | None = None
    source: Inspection | None = None


def draw_maps(path: Path, name: str, inspection: Inspection, baseline: Inspection | None = None) -> None:
    """Draw the maps of one photo into one picture, which is written atomically; maps that are None are omitted.

    Args:
        path: file of the picture: .png, .jpg or .jpeg.
        name: of the photo: the title.
        inspection: of the model on the photo.
        baseline: of another model on the same photo; its attention is drawn next to that of the model. If it is None,
            the norm of the backbone's features is drawn instead, if it differs from the model's attention.

    Raises:
        ParamsError: the file has another suffix.
    """
    picture_format(path, _SUBJECT)
    panels = [*_attention(inspection, baseline), *_context(inspection), *_edges(inspection)]
    columns = _count_columns(len(panels) + 1)
    rows = -(-(len(panels) + 1) // columns)
    filtered = [inspected for inspected in inspection.locations if inspected.weights is not None]
    heights = [rows * (_WIDTH * 0.8 * min(max(_aspect(inspection), 0.15), 1.6) + _TITLE)]
    heights += [_FILTER * -(-len(filtered) // max(columns, _FILTERS_PER_ROW))] if filtered else []
    figure = blank_figure(_WIDTH * columns, sum(heights))
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    axes = _make_axes(parts[0], len(panels) + 1, columns)
    _show_photo(axes[0], name, inspection)
    for axis, panel in zip(axes[1:], panels, strict=True):
        _show_panel(axis, panel, inspection)
    if filtered:
        _show_filters(_make_axes(parts[1], len(filtered), max(columns, _FILTERS_PER_ROW)), inspection, filtered)
    save_figure(path, figure, _SUBJECT)


def _count_columns(panels: int) -> int:
    """At most four columns; of three and four, the number that leaves fewer empty positions in the last row."""
    return panels if panels <= 4 else min(4, 3, key=lambda columns: -panels % columns)


def _make_axes(part: SubFigure, count: int, columns: int) -> list[Axes]:
    axes = part.subplots(-(-count // columns), columns, squeeze=False).ravel().tolist()
    for axis in axes[count:]:
        axis.remove()
    return axes[:count]


def _aspect(inspection: Inspection) -> float:
    """Height over width of the photo."""
    return inspection.photo.height / inspection.photo.width


def _attention(inspection: Inspection, baseline: Inspection | None) -> list[_Panel]:
    """Both maps of attention and their difference, or only one map if they are equal."""
    strength = _as_strength(inspection.attention)
    other = _as_strength(inspection.feature_norm if baseline is None else baseline.attention)
    before, after = ("before", "after") if baseline is None else ("baseline", "model")
    of_what = "{} context" if baseline is None else "of the {}"
    bounds = (min(float(strength.min()), float(other.min())), 1.0)
    comparable = strength.shape == other.shape and (baseline is None or baseline.window == inspection.window)
    if comparable and np.abs(strength - other).max() < _INVISIBLE:
        note = "" if baseline is None else " (equal to the baseline's)"
        return [_Panel(f"attention{note}", strength, _widen(*bounds), _STRENGTH_COLOURS, transparent=True)]
    panels = [
        _Panel(
            f"attention {of_what.format(before)}", other, bounds, _STRENGTH_COLOURS, transparent=True, source=baseline
        )
    ]
    panels.append(_Panel(f"attention {of_what.format(after)}", strength, bounds, _STRENGTH_COLOURS, transparent=True))
    if comparable:
        largest = float(np.abs(strength - other).max())
        panels.append(_Panel(f"attention: {after} − {before}", strength - other, (-largest, largest), "RdBu_r"))
    return panels


def _context(inspection: Inspection) -> list[_Panel]:
    named = {
        "relative change by the graph": inspection.change,
        "gate of the graph": inspection.gate,
        "centre share of smoothing (× average)": inspection.share,
        "self-confidence c": inspection.confidence,
        "bandwidth a (larger is narrower)": inspection.bandwidth,
    }
    return [
        _Panel(title, values, _widen(float(values.min()), float(values.max())), "viridis")
        for title, values in named.items()
        if values is not None
    ]


def _edges(inspection: Inspection) -> list[_Panel]:
    """The edges of each inspected location; the colours end at the largest weight to another location."""
    panels = []
    for number, inspected in enumerate(inspection.locations, 1):
        if inspected.edges is not None:
            percent = 100 * inspected.edges
            others = percent.copy()
            others[inspected.location] = 0
            bounds = _widen(0.0, float(others.max()))
            panels.append(
                _Panel(
                    f"edges of {number}", percent, bounds, _STRENGTH_COLOURS, "%", transparent=True, location=inspected
                )
            )
    return panels


def _as_strength(attention: Values) -> Values:
    return attention / max(float(attention.max()), 1e-12)


def _widen(low: float, high: float) -> tuple[float, float]:
    """The bounds; if they are equal, the bounds from zero to this value."""
    if high - low > _INVISIBLE:
        return low, high
    return 0.0, high if high > _INVISIBLE else 1.0


def _show_photo(axis: Axes, name: str, inspection: Inspection) -> None:
    _show_background(axis, inspection.photo)
    _set_title(axis, name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME // 3]}…{name[-_MAX_NAME // 2 :]}")
    axis.set_axis_off()
    for number, inspected in enumerate(inspection.locations, 1):
        _mark_location(axis, inspection, inspected, str(number))


def _mark_location(axis: Axes, inspection: Inspection, inspected: InspectedLocation, text: str) -> None:
    """Draw a disc with a number at the centre of the location."""
    left, top, width, height = _cell(inspection, inspected)
    x, y = left + width / 2, top + height / 2
    axis.scatter([x], [y], s=130, c="#ffffff", edgecolors=_INK, linewidths=1.2, zorder=4)
    axis.annotate(text, (x, y), ha="center", va="center_baseline", fontsize=8, zorder=5)


def _outline_cell(axis: Axes, inspection: Inspection, inspected: InspectedLocation) -> None:
    """Outline the cell of the location."""
    left, top, width, height = _cell(inspection, inspected)
    axis.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=_OUTLINE_COLOUR, linewidth=2))


def _cell(inspection: Inspection, inspected: InspectedLocation) -> tuple[float, float, float, float]:
    """Left, top, width and height of the location's cell in the photo, in pixels."""
    left, right, bottom, top = _extent(inspection)
    height, width = (bottom - top) / inspection.attention.shape[0], (right - left) / inspection.attention.shape[1]
    return left + inspected.location[1] * width, top + inspected.location[0] * height, width, height


def _extent(inspection: Inspection) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of the maps in the photo, in pixels."""
    (left, top, right, bottom), (width, height) = inspection.window, inspection.photo.size
    return left * width, right * width, bottom * height, top * height


def _show_background(axis: Axes, photo: Image.Image, bounds: tuple[int, int] = (0, 255)) -> None:
    """Show a photo below the map that is drawn next; a grey photo with the values `bounds` as black and white."""
    axis.imshow(photo, cmap="gray", vmin=bounds[0], vmax=bounds[1], extent=(0, photo.width, photo.height, 0))


def _show_panel(axis: Axes, panel: _Panel, inspection: Inspection) -> None:
    _show_background(axis, ImageOps.grayscale(inspection.photo), _FADED_RANGE)
    colours = _transparent(panel.colours) if panel.transparent else matplotlib.colormaps[panel.colours]
    low, high = panel.bounds
    image = axis.imshow(
        panel.values,
        cmap=colours,
        vmin=low,
        vmax=high,
        extent=_extent(panel.source or inspection),
        interpolation="nearest",
    )
    axis.set(xlim=(0, inspection.photo.width), ylim=(inspection.photo.height, 0))
    _set_title(axis, panel.title)
    axis.set_axis_off()
    _add_bar(axis, image, panel.unit, _aspect(inspection), beyond=bool(panel.values.max() > high))
    if panel.location is not None:
        _outline_cell(axis, inspection, panel.location)


def _set_title(axis: Axes, title: str) -> None:
    axis.set_title(title, fontsize=10, parse_math=False)


def _transparent(name: str) -> ListedColormap:
    """The colour map with transparency, which is larger for smaller values."""
    colours = matplotlib.colormaps[name](np.linspace(0, 1, 256))
    colours[:, 3] = np.linspace(0.0, 0.9, 256)
    return ListedColormap(colours)


def _add_bar(axis: Axes, image: AxesImage, unit: str, aspect: float, *, beyond: bool) -> None:
    """Add a colour bar with the height of the panel at its right edge.

    Args:
        unit: "%" or empty, written after each number.
        aspect: height over width of the panel.
        beyond: whether some values are above the bounds.
    """
    place = axis.inset_axes((1.03, 0.0, 0.05 * max(1.0, aspect / 1.6), 1.0))
    bar = axis.figure.colorbar(
        image,
        cax=place,
        extend="max" if beyond else "neither",
        ticks=MaxNLocator(5) if aspect > 0.4 else LinearLocator(2),
        format=f"%.3g{unit.replace('%', '%%')}",
    )
    bar.ax.tick_params(labelsize=8)


def _show_filters(axes: Sequence[Axes], inspection: Inspection, locations: Sequence[InspectedLocation]) -> None:
    """Draw the filter weights of each location as a small map; all have the same colour scale."""
    percents = [100 * inspected.weights for inspected in locations if inspected.weights is not None]
    largest = max(float(np.nanmax(percent)) for percent in percents)
    for axis, inspected, percent in zip(axes, locations, percents, strict=True):
        image = axis.imshow(percent, cmap="viridis", vmin=0, vmax=largest)
        axis.set_facecolor(_OUTSIDE_COLOUR)
        axis.set_xticks([])
        axis.set_yticks([])
        _set_title(
            axis, f"filter of {inspection.locations.index(inspected) + 1}{_filter_parameters(inspection, inspected)}"
        )
        _write_weights(axis, percent, largest)
    _add_bar(axes[-1], image, "%", 1.0, beyond=False)


def _filter_parameters(inspection: Inspection, inspected: InspectedLocation) -> str:
    named = {"a": inspection.bandwidth, "c": inspection.confidence}
    known = [f"{name} = {values[inspected.location]:.2g}" for name, values in named.items() if values is not None]
    return f": {', '.join(known)}" if known else ""


def _write_weights(axis: Axes, percent: Values, largest: float) -> None:
    """Write each weight into its cell, if the cells are large enough."""
    if len(percent) > 5:
        return
    for (y, x), weight in np.ndenumerate(percent):
        if not np.isnan(weight):
            ink = _INK if weight > 0.6 * largest else "#ffffff"
            axis.text(x, y, f"{weight:.0f}", color=ink, fontsize=8, ha="center", va="center_baseline")
