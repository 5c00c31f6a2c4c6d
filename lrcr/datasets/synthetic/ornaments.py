"""Supports, and the two motifs that several ornaments share: invented letters and standing figures."""

import itertools

import numpy as np

from lrcr.datasets.synthetic.canvas import Canvas
from lrcr.datasets.synthetic.style import Colour, Palette, tint


def draw_support(canvas: Canvas, kind: str, x: float, y: float, width: float, height: float, palette: Palette) -> None:
    """Draw a column, pilaster, shaft, buttress or fin centred on `x`, from `y` upwards (metres)."""
    half, trim = width / 2, palette.trim
    if kind == "buttress":
        for step in range(3):
            reach = 1 - 0.22 * step
            canvas.rectangle(
                x - half * reach,
                y,
                width * reach,
                height * (0.45 + 0.25 * step),
                tint(palette.wall, 0.95 + 0.04 * step),
                0.9 - 0.25 * step,
            )
        return
    if kind == "fin":
        canvas.rectangle(x - half * 0.5, y, half, height, trim, 0.8)
        return
    capital = min(0.12 * height, width * 0.9)
    if kind == "pilaster":
        canvas.rectangle(x - half, y, width, height, trim, 0.25)
        canvas.rectangle(
            x - half * 0.55, y + capital * 1.2, width * 0.55, height - 2.4 * capital, tint(trim, 0.93), 0.15
        )
    else:
        draw_shaft(canvas, x, y, half * (0.8 if kind == "column" else 0.45), height, trim, flutes=kind == "column")
    canvas.rectangle(x - half * 1.15, y, width * 1.15, capital * 0.8, trim, 0.55)
    canvas.polygon(
        [
            (x - half * 0.85, y + height - capital),
            (x + half * 0.85, y + height - capital),
            (x + half * 1.3, y + height),
            (x - half * 1.3, y + height),
        ],
        trim,
        0.6,
    )


def draw_shaft(canvas: Canvas, x: float, y: float, radius: float, height: float, colour: Colour, flutes: bool) -> None:
    """Draw a cylinder in relief from strips; with `flutes` every other strip is darker."""
    edges = radius * np.sin(np.linspace(-np.pi / 2, np.pi / 2, 9))
    for strip, (left, right) in enumerate(itertools.pairwise(edges)):
        depth = float(np.sqrt(max(0.0, radius**2 - ((left + right) / 2) ** 2)))
        tone = tint(colour, 0.88) if flutes and strip % 2 else colour
        canvas.rectangle(x + float(left), y, float(right - left), height, tone, min(0.1 + depth, 1.5))


def draw_letters(
    canvas: Canvas, x: float, y: float, width: float, height: float, colour: Colour, rng: np.random.Generator
) -> None:
    """Draw a line of invented letters: each has two to four strokes between points of a small grid, and a stem."""
    count = max(3, round(width / (height * 0.85)))
    pitch = width / count
    for letter in range(count):
        if letter and letter < count - 1 and rng.random() < 0.12:
            continue  # a space between words
        nodes = rng.integers(0, 3, (int(rng.integers(3, 6)), 2))
        points = [(x + pitch * (letter + 0.15 + 0.33 * float(a)), y + height * 0.5 * float(b)) for a, b in nodes]
        canvas.line(points, max(height * 0.16, 0.06), colour, 0.35)
        canvas.line([points[0], (points[0][0], y + height)], max(height * 0.16, 0.06), colour, 0.35)


def draw_figure(canvas: Canvas, x: float, y: float, height: float, colour: Colour, rng: np.random.Generator) -> None:
    """Draw a standing figure in relief in a random pose, its feet at `y` (metres)."""
    lean = float(rng.uniform(-0.08, 0.08)) * height
    hem, waist = height * float(rng.uniform(0.13, 0.22)), height * float(rng.uniform(0.08, 0.12))
    shoulder = (x + lean, y + height * 0.78)
    canvas.polygon(
        [(x - hem, y), (x + hem, y), (x + lean + waist, y + height * 0.5), (x + lean - waist, y + height * 0.5)],
        tint(colour, 0.9),
        0.3,
    )
    canvas.ellipse(x + lean, y + height * 0.63, height * 0.14, height * 0.18, colour, 0.45)
    canvas.ellipse(x + lean * 1.3, y + height * 0.9, height * 0.07, height * 0.09, tint(colour, 1.05), 0.5)
    for side in (-1, 1):
        elbow = (shoulder[0] + side * height * 0.17, shoulder[1] - height * float(rng.uniform(-0.08, 0.2)))
        hand = (
            elbow[0] + side * height * float(rng.uniform(-0.1, 0.1)),
            elbow[1] + height * float(rng.uniform(-0.25, 0.25)),
        )
        canvas.line([shoulder, elbow, hand], height * 0.07, tint(colour, 0.95), 0.45)
    if rng.random() < 0.4:
        staff = x + height * float(rng.choice([-0.24, 0.24]))
        canvas.line(
            [(staff, y), (staff, y + height * float(rng.uniform(0.8, 1.15)))], height * 0.04, tint(colour, 0.8), 0.4
        )
