"""Charts as SVG elements; their colours are those of the page, in light and dark."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from matplotlib.ticker import MaxNLocator

from lrcr.evaluation.compare import Difference

_WIDTH, _HEIGHT = 440, 250  # of a chart, in units of the SVG, as all sizes below
_LEFT, _RIGHT, _TOP, _BOTTOM = 66, 12, 14, 40
_TICKS = 5
_INTERVAL = (220, 30)


@dataclass(frozen=True)
class Series:
    """A line of a chart.

    Args:
        label: in the legend, where equal labels of dashed lines stand once.
        points: x and y, in ascending order of x; at least one.
        colour: number of a colour of the page, 1 to 3.
        dashed: whether the line is dashed.
    """

    label: str
    points: Sequence[tuple[float, float]]
    colour: int = 1
    dashed: bool = False


@dataclass(frozen=True)
class _Axis:
    """Positions of values in a chart, and the values that are written at the axis."""

    ticks: list[float]
    start: float
    end: float

    def at(self, value: float) -> float:
        """The position of a value."""
        share = (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return self.start + share * (self.end - self.start)


def draw_chart(title: str, x_label: str, series: Sequence[Series]) -> str:
    """A figure with a chart of lines; its legend is written if there are several lines."""
    xs, ys = zip(*(point for line in series for point in line.points), strict=True)
    x = _Axis(_ticks(xs), _LEFT, _WIDTH - _RIGHT)
    y = _Axis(_ticks(ys), _HEIGHT - _BOTTOM, _TOP)
    parts = [
        *(_grid_line(y.at(tick), f"{tick:g}") for tick in y.ticks),
        *(f'<text x="{x.at(tick):.1f}" y="{_HEIGHT - 22}" class="middle">{tick:g}</text>' for tick in x.ticks),
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 5}" class="middle">{escape(x_label)}</text>',
        *(_line(x, y, line) for line in series),
    ]
    drawing = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    styles = {line.label: "dashed" if line.dashed else _style(line) for line in series}
    keys = [f'<span class="key {style}">{escape(label)}</span>' for label, style in styles.items()]
    legend = f'<div class="legend">{"".join(keys)}</div>' if len(keys) > 1 else ""
    return f'<figure class="chart"><figcaption>{escape(title)}</figcaption>{drawing}{legend}</figure>'


def draw_interval(difference: Difference, reach: float) -> str:
    """A bar from the lower to the upper bound of a difference, with its mean and a line at zero.

    Args:
        difference: the mean and its interval.
        reach: the absolute value at the ends of the drawing, > 0.
    """
    width, height = _INTERVAL
    low, mean, high = (width / 2 * (1 + value / reach) for value in (difference.low, difference.mean, difference.high))
    sign = "gain" if difference.low > 0 else "loss" if difference.high < 0 else "open"
    parts = [
        f'<line x1="{width / 2}" x2="{width / 2}" y1="2" y2="{height - 2}" class="zero"/>',
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{height / 2}" y2="{height / 2}" class="bar"/>',
        f'<circle cx="{mean:.1f}" cy="{height / 2}" r="5"/>',
    ]
    return (
        f'<svg viewBox="-6 0 {width + 12} {height}" class="interval {sign}" aria-hidden="true">{"".join(parts)}</svg>'
    )


def _ticks(values: Sequence[float]) -> list[float]:
    whole = all(float(value).is_integer() for value in values)
    ticks = MaxNLocator(_TICKS, integer=whole, min_n_ticks=2).tick_values(min(values), max(values))
    return [float(tick) for tick in ticks]


def _grid_line(y: float, label: str) -> str:
    line = f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>'
    return f'{line}<text x="{_LEFT - 7}" y="{y + 4:.1f}" class="end">{label}</text>'


def _line(x: _Axis, y: _Axis, series: Series) -> str:
    places = [(x.at(a), y.at(b)) for a, b in series.points]
    if len(places) == 1:
        return f'<circle cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="4" class="{_style(series)}"/>'
    return f'<polyline points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in places)}" class="{_style(series)}"/>'


def _style(series: Series) -> str:
    return f"colour-{series.colour}{' dashed' if series.dashed else ''}"
