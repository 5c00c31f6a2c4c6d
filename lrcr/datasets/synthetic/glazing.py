"""The glazing of windows: bars, crosses, tracery, leaded panes, pierced screens."""

from dataclasses import dataclass

import numpy as np

from lrcr.datasets.synthetic.arches import outline
from lrcr.datasets.synthetic.canvas import Canvas, Point
from lrcr.datasets.synthetic.style import Palette, tint

_RECESS = -0.4


@dataclass(frozen=True)
class Pane:
    """A glazed opening centred on `x` with its foot at `y` (metres), divided into `columns` and `rows`."""

    x: float
    y: float
    width: float
    height: float
    arch: str
    columns: int
    rows: int

    def at(self, across: float, up: float) -> Point:
        """The point at `across` in [−0.5, 0.5] of the width and `up` in [0, 1] of the height."""
        return self.x + across * self.width, self.y + up * self.height

    @property
    def straight(self) -> float:
        """The share of the height below the arch."""
        return 0.98 if self.arch == "flat" else 0.75


def draw_glazing(canvas: Canvas, kind: str, pane: Pane, palette: Palette) -> None:
    """Draw the glass and its division: bars, grid, cross, bifora, tracery, diamond or lattice."""
    canvas.glass(outline(pane.arch, pane.x, pane.y, pane.width, pane.height), palette.glass)
    _KINDS[kind](canvas, pane, palette)


def _bars(canvas: Canvas, pane: Pane, palette: Palette) -> None:
    for step in range(1, pane.columns + 1):
        across = step / (pane.columns + 1) - 0.5
        canvas.line([pane.at(across, 0), pane.at(across, pane.straight)], 0.14, palette.trim, -0.2)


def _grid(canvas: Canvas, pane: Pane, palette: Palette) -> None:
    _bars(canvas, pane, palette)
    for step in range(1, pane.rows + 1):
        up = pane.straight * step / (pane.rows + 1)
        canvas.line([pane.at(-0.48, up), pane.at(0.48, up)], 0.11, palette.trim, -0.2)


def _cross(canvas: Canvas, pane: Pane, palette: Palette) -> None:
    canvas.line([pane.at(0, 0), pane.at(0, 0.98)], 0.25, palette.trim, -0.1)
    canvas.line([pane.at(-0.5, 0.62), pane.at(0.5, 0.62)], 0.25, palette.trim, -0.1)


def _bifora(canvas: Canvas, pane: Pane, palette: Palette) -> None:
    """Draw two small arches under a round window."""
    canvas.polygon(outline(pane.arch, pane.x, pane.y, pane.width, pane.height), tint(palette.trim, 0.95), -0.05)
    for side in (-0.24, 0.24):
        x, y = pane.at(side, 0)
        canvas.glass(outline("round", x, y, pane.width * 0.38, pane.height * 0.62), palette.glass)
    radius = min(pane.width * 0.16, pane.height * 0.12)
    x, y = pane.at(0, 0.75)
    canvas.glass(outline("circle", x, y - radius, 2 * radius, 2 * radius), palette.glass)


def _tracery(canvas: Canvas, pane: Pane, palette: Palette) -> None:
    """Draw pointed arches under a circle of foils."""
    count = pane.columns + 1
    for step in range(count):
        x, y = pane.at((step + 0.5) / count - 0.5, 0)
        canvas.line(outline("pointed", x, y, pane.width / count, pane.height * 0.58), 0.14, palette.trim, -0.15)
    radius = min(pane.width * 0.22, pane.height * 0.14)
    x, y = pane.at(0, 0.58)
    y += radius * 0.9
    canvas.ellipse(x, y, radius, radius, palette.trim, -0.15)
    for angle in np.pi / 2 + np.linspace(0, 2 * np.pi, 3 + pane.rows % 4, endpoint=False):
        foil = (x + radius * 0.5 * float(np.cos(angle)), y + radius * 0.5 * float(np.sin(angle)))
        canvas.ellipse(*foil, radius * 0.33, radius * 0.33, palette.glass, _RECESS)


def _diamond(canvas: Canvas, pane: Pane, palette: Palette) -> None:
    """Draw leaded panes: two sets of diagonal bars."""
    lead, count = tint(palette.trim, 0.8), 2 + pane.columns
    for step in range(count):
        low, high = pane.straight * step / count, pane.straight * (step + 1) / count
        canvas.line([pane.at(-0.47, low), pane.at(0.47, high)], 0.09, lead, -0.25)
        canvas.line([pane.at(-0.47, high), pane.at(0.47, low)], 0.09, lead, -0.25)
    canvas.line([pane.at(0, 0), pane.at(0, pane.straight)], 0.16, palette.trim, -0.2)


def _lattice(canvas: Canvas, pane: Pane, palette: Palette) -> None:
    """Draw a screen with a grid of holes."""
    columns, rows = pane.columns + 2, pane.rows + 3
    canvas.polygon(outline(pane.arch, pane.x, pane.y, pane.width, pane.height), tint(palette.trim, 0.9), -0.2)
    for row in range(rows):
        for column in range(columns):
            hole = pane.at(0.8 * ((column + 0.5) / columns - 0.5), 0.8 * (row + 0.5) / rows + 0.04)
            canvas.ellipse(*hole, pane.width * 0.28 / columns, pane.height * 0.28 / rows, palette.glass, _RECESS)


_KINDS = {
    "bars": _bars,
    "grid": _grid,
    "cross": _cross,
    "bifora": _bifora,
    "tracery": _tracery,
    "diamond": _diamond,
    "lattice": _lattice,
}
