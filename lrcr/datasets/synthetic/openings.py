"""Windows, doors and gates: a design is sampled once from the style and repeated over a façade."""

from dataclasses import dataclass

import numpy as np

from lrcr.datasets.synthetic.arches import outline
from lrcr.datasets.synthetic.canvas import Canvas
from lrcr.datasets.synthetic.glazing import Pane, draw_glazing
from lrcr.datasets.synthetic.style import Palette, Style, tint

_RECESS = -0.4


@dataclass(frozen=True)
class Opening:
    """The design of a window or door."""

    arch: str
    glazing: str
    hood: str
    columns: int
    rows: int
    surround: float  # metres
    sill: bool
    shutters: bool
    balcony: bool
    keystone: bool
    fill: tuple[float, float]  # share of the bay's width and of the storey's height


def sample_opening(style: Style, rng: np.random.Generator) -> Opening:
    """Sample the design of a window or door of the style."""
    arch = str(rng.choice(style.arches))
    return Opening(
        arch=arch,
        glazing=str(rng.choice(style.glazing)),
        hood=str(rng.choice(style.hoods)),
        columns=int(rng.integers(1, 4)),
        rows=int(rng.integers(1, 6)),
        surround=float(rng.choice([0.0, 0.15, 0.25, 0.4])),
        sill=bool(rng.random() < 0.6),
        shutters=bool(arch == "flat" and rng.random() < 0.3),
        balcony=bool(rng.random() < 0.2),
        keystone=bool(rng.random() < 0.35),
        fill=(float(rng.uniform(0.34, 0.66)), float(rng.uniform(0.5, 0.78))),
    )


def draw_window(
    canvas: Canvas, opening: Opening, x: float, y: float, width: float, height: float, palette: Palette
) -> None:
    """Draw a window centred on `x` with its foot at `y` (metres)."""
    frame = opening.surround
    if frame:
        canvas.polygon(
            outline(opening.arch, x, y - frame * 0.4, width + 2 * frame, height + 1.4 * frame), palette.trim, 0.16
        )
    if opening.shutters:
        for side in (-1, 1):
            canvas.rectangle(x + side * width * 0.78 - width * 0.22, y, width * 0.44, height, palette.accent, 0.1)
            canvas.line(
                [(x + side * width * 0.78, y), (x + side * width * 0.78, y + height)],
                0.08,
                tint(palette.accent, 0.7),
                0.1,
            )
    _draw_hood(canvas, opening.hood, x, y + height + frame, width + 2 * frame, palette)
    pane = Pane(x, y, width, height, opening.arch, opening.columns, opening.rows)
    draw_glazing(canvas, opening.glazing, pane, palette)
    if opening.keystone and opening.arch != "circle":
        top = y + height
        canvas.polygon(
            [(x - 0.2, top - 0.1), (x + 0.2, top - 0.1), (x + 0.32, top + 0.6), (x - 0.32, top + 0.6)],
            palette.trim,
            0.3,
        )
    if opening.sill:
        canvas.rectangle(x - width * 0.62, y - 0.3, width * 1.24, 0.3, palette.trim, 0.35)
    if opening.balcony:
        _draw_balcony(canvas, x, y, width * 1.5, height * 0.3, palette)


def draw_door(
    canvas: Canvas, opening: Opening, x: float, y: float, width: float, height: float, palette: Palette
) -> None:
    """Draw a door in two or three nested arches, centred on `x` with its foot at `y` (metres)."""
    steps = 2 + opening.columns % 2
    for step in range(steps):
        grow = 0.35 * (steps - step)
        colour = palette.trim if step % 2 == 0 else palette.wall
        canvas.polygon(outline(opening.arch, x, y, width + 2 * grow, height + grow), colour, 0.3 - 0.25 * step)
    canvas.polygon(outline(opening.arch, x, y, width, height), palette.accent, _RECESS)
    lintel = y + height * 0.62
    canvas.glass(outline(opening.arch, x, lintel, width * 0.9, height * 0.36), palette.glass)
    canvas.line([(x, y), (x, lintel)], 0.14, tint(palette.accent, 0.5), _RECESS)
    for side in (-1, 1):
        for level in range(opening.rows % 3 + 1):
            panel = (lintel - y) / (opening.rows % 3 + 1)
            canvas.rectangle(
                x + side * width * 0.25 - width * 0.16,
                y + panel * (level + 0.15),
                width * 0.32,
                panel * 0.7,
                tint(palette.accent, 1.3),
                _RECESS + 0.08,
            )
    for step in range(2):
        canvas.rectangle(
            x - width * (0.8 + 0.2 * (1 - step)),
            y + 0.3 * step,
            width * (1.6 + 0.4 * (1 - step)),
            0.3,
            palette.trim,
            0.8 - 0.3 * step,
        )


def _draw_hood(canvas: Canvas, hood: str, x: float, y: float, width: float, palette: Palette) -> None:
    half, trim = width * 0.6, palette.trim
    if hood == "cornice":
        canvas.rectangle(x - half, y + 0.1, 2 * half, 0.35, trim, 0.5)
    elif hood == "pediment":
        canvas.polygon([(x - half, y + 0.1), (x + half, y + 0.1), (x, y + 0.1 + half * 0.65)], trim, 0.5)
        canvas.polygon(
            [(x - half * 0.6, y + 0.3), (x + half * 0.6, y + 0.3), (x, y + half * 0.5)], tint(trim, 0.9), 0.15
        )
    elif hood == "arc":
        canvas.polygon(outline("segmental", x, y + 0.1, 2 * half, half * 0.55), trim, 0.5)
        canvas.polygon(outline("segmental", x, y + 0.3, 1.4 * half, half * 0.3), tint(trim, 0.9), 0.15)
    elif hood == "gablet":
        canvas.polygon([(x - half, y - 0.2), (x + half, y - 0.2), (x, y + half * 1.6)], trim, 0.3)
    elif hood == "label":
        canvas.line(
            [(x - half, y - 0.8), (x - half, y + 0.2), (x + half, y + 0.2), (x + half, y - 0.8)], 0.25, trim, 0.35
        )
    elif hood == "scroll":
        for side in (-1, 1):
            canvas.ellipse(x + side * half * 0.55, y + 0.35, half * 0.5, 0.35, trim, 0.4)
        canvas.ellipse(x, y + 0.65, half * 0.3, 0.5, trim, 0.55)


def _draw_balcony(canvas: Canvas, x: float, y: float, width: float, height: float, palette: Palette) -> None:
    canvas.rectangle(x - width / 2, y - 0.35, width, 0.35, palette.trim, 0.9)
    for post in np.linspace(x - width / 2 + 0.1, x + width / 2 - 0.1, max(3, round(width / 0.4))):
        canvas.line([(float(post), y), (float(post), y + height)], 0.1, tint(palette.trim, 0.75), 0.8)
    canvas.rectangle(x - width / 2, y + height, width, 0.15, palette.trim, 0.9)
