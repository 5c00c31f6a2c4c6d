"""The central ornament of a wall or gable: a clock, a rose window, a shield, a relief, a painted name."""

import numpy as np

from lrcr.datasets.synthetic.arches import outline
from lrcr.datasets.synthetic.canvas import Canvas
from lrcr.datasets.synthetic.ornaments import draw_figure, draw_letters
from lrcr.datasets.synthetic.style import Colour, Palette, tint


def draw_feature(canvas: Canvas, kind: str, x: float, y: float, size: float, palette: Palette, seed: int) -> None:
    """Draw a central ornament: clock, rose, shield, relief, niche, mosaic, sundial or letters.

    Args:
        x, y: the centre (metres).
        size: its diameter (metres).
        seed: determines the design.
    """
    _FEATURES[kind](canvas, x, y, size / 2, palette, np.random.default_rng(seed))


def _clock(canvas: Canvas, x: float, y: float, radius: float, palette: Palette, rng: np.random.Generator) -> None:
    if rng.random() < 0.5:
        canvas.rectangle(
            x - radius * 1.15, y - radius * 1.15, radius * 2.3, radius * 2.3, tint(palette.wall, 0.85), 0.2
        )
    canvas.ellipse(x, y, radius * 1.1, radius * 1.1, palette.trim, 0.4)
    face, hand = [((236, 232, 220), (30, 30, 34)), ((40, 48, 66), (222, 190, 110)), (palette.accent, (238, 230, 206))][
        rng.integers(3)
    ]
    canvas.ellipse(x, y, radius * 0.92, radius * 0.92, face, 0.3)
    marks = int(rng.choice([4, 8, 12]))
    for angle in np.linspace(0, 2 * np.pi, marks, endpoint=False):
        unit = np.array([np.cos(angle), np.sin(angle)])
        inner, outer = (
            (x + radius * reach * float(unit[0]), y + radius * reach * float(unit[1])) for reach in (0.66, 0.86)
        )
        canvas.line([inner, outer], radius * 0.1, hand, 0.3)
    for reach, angle in zip((0.5, 0.75), rng.uniform(0, 2 * np.pi, 2), strict=True):
        canvas.line(
            [(x, y), (x + radius * reach * float(np.cos(angle)), y + radius * reach * float(np.sin(angle)))],
            radius * 0.1,
            hand,
            0.3,
        )


def _rose(canvas: Canvas, x: float, y: float, radius: float, palette: Palette, rng: np.random.Generator) -> None:
    canvas.ellipse(x, y, radius * 1.12, radius * 1.12, palette.trim, 0.35)
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    canvas.glass(
        [(x + radius * 0.95 * float(np.cos(a)), y + radius * 0.95 * float(np.sin(a))) for a in turn], palette.glass
    )
    petals = int(rng.choice([5, 6, 8, 10, 12]))
    ring = float(rng.uniform(0.35, 0.55))
    tones = rng.integers(40, 150, (2, 3))
    for petal in range(petals):
        angle = 2 * np.pi * petal / petals
        unit = (float(np.cos(angle)), float(np.sin(angle)))
        canvas.line(
            [(x, y), (x + radius * 0.95 * unit[0], y + radius * 0.95 * unit[1])], radius * 0.09, palette.trim, -0.1
        )
        middle = angle + np.pi / petals
        centre = (x + radius * 0.72 * float(np.cos(middle)), y + radius * 0.72 * float(np.sin(middle)))
        red, green, blue = (int(channel) for channel in tones[petal % 2])
        canvas.ellipse(*centre, radius * 1.4 / petals, radius * 1.4 / petals, (red, green, blue), -0.3)
    canvas.ellipse(x, y, radius * ring, radius * ring, palette.trim, -0.05)
    canvas.ellipse(x, y, radius * ring * 0.7, radius * ring * 0.7, palette.glass, -0.4)
    canvas.ellipse(x, y, radius * ring * 0.3, radius * ring * 0.3, palette.trim, -0.05)


def _shield(canvas: Canvas, x: float, y: float, radius: float, palette: Palette, rng: np.random.Generator) -> None:
    points = [
        (x - radius * 0.8, y + radius),
        (x + radius * 0.8, y + radius),
        (x + radius * 0.75, y - radius * 0.2),
        (x, y - radius),
        (x - radius * 0.75, y - radius * 0.2),
    ]
    canvas.polygon([(x + 1.15 * (a - x), y + 1.15 * (b - y)) for a, b in points], palette.trim, 0.45)
    canvas.polygon(points, palette.accent, 0.35)
    charge: Colour = (220, 190, 110) if rng.random() < 0.5 else (232, 230, 224)
    if rng.random() < 0.5:
        canvas.polygon(
            [(x - radius * 0.8, y + radius), (x, y + radius), (x, y - radius), (x - radius * 0.75, y - radius * 0.2)],
            charge,
            0.36,
        )
    for _ in range(int(rng.integers(2, 5))):
        across, up = rng.uniform(-0.45, 0.45), rng.uniform(-0.4, 0.7)
        size = radius * float(rng.uniform(0.12, 0.3))
        canvas.ellipse(
            x + radius * across, y + radius * up, size, size * float(rng.uniform(0.5, 1.5)), tint(charge, 0.8), 0.5
        )


def _relief(canvas: Canvas, x: float, y: float, radius: float, palette: Palette, rng: np.random.Generator) -> None:
    """Draw a group of figures in a panel."""
    canvas.rectangle(x - radius * 1.3, y - radius, radius * 2.6, radius * 2, palette.trim, 0.3)
    canvas.rectangle(x - radius * 1.15, y - radius * 0.85, radius * 2.3, radius * 1.7, tint(palette.trim, 0.7), -0.1)
    for centre in np.linspace(-0.85, 0.85, int(rng.integers(3, 6))):
        draw_figure(
            canvas,
            x + radius * float(centre),
            y - radius * 0.85,
            radius * float(rng.uniform(1.2, 1.6)),
            palette.trim,
            rng,
        )


def _niche(canvas: Canvas, x: float, y: float, radius: float, palette: Palette, rng: np.random.Generator) -> None:
    canvas.polygon(outline("round", x, y - radius, radius * 1.4, radius * 2.1), palette.trim, 0.25)
    canvas.polygon(outline("round", x, y - radius * 0.9, radius * 1.1, radius * 1.85), tint(palette.wall, 0.6), -0.5)
    draw_figure(canvas, x, y - radius * 0.9, radius * 1.6, palette.trim, rng)


def _mosaic(canvas: Canvas, x: float, y: float, radius: float, palette: Palette, rng: np.random.Generator) -> None:
    cells = int(rng.integers(4, 8))
    tones = [palette.accent, palette.trim, tint(palette.accent, 1.6), tint(palette.roof, 1.2), (208, 176, 96)]
    half = rng.integers(0, len(tones), (cells, -(-cells // 2)))
    picture = np.concatenate([half, half[:, ::-1]], axis=1)
    canvas.rectangle(x - radius * 1.1, y - radius * 1.1, radius * 2.2, radius * 2.2, palette.trim, 0.3)
    across, up = 2 * radius / picture.shape[1], 2 * radius / cells
    for row in range(cells):
        for column in range(picture.shape[1]):
            canvas.rectangle(
                x - radius + across * column, y - radius + up * row, across, up, tones[picture[row, column]], 0.2
            )


def _sundial(canvas: Canvas, x: float, y: float, radius: float, palette: Palette, rng: np.random.Generator) -> None:
    canvas.rectangle(x - radius, y - radius, 2 * radius, 2 * radius, (232, 226, 208), 0.15)
    canvas.ellipse(x, y + radius * 0.6, radius * 0.25, radius * 0.25, (220, 180, 80), 0.2)
    for angle in np.linspace(np.pi * 1.1, np.pi * 1.9, int(rng.integers(5, 10))):
        canvas.line(
            [
                (x, y + radius * 0.6),
                (x + radius * 1.2 * float(np.cos(angle)) * 0.8, y + radius * 0.6 + radius * 1.3 * float(np.sin(angle))),
            ],
            0.1,
            palette.accent,
            0.15,
        )


def _letters(canvas: Canvas, x: float, y: float, radius: float, palette: Palette, rng: np.random.Generator) -> None:
    board = palette.accent if rng.random() < 0.6 else tint(palette.roof, 0.8)
    canvas.rectangle(x - radius * 2.2, y - radius * 0.6, radius * 4.4, radius * 1.2, board, 0.3)
    draw_letters(canvas, x - radius * 2, y - radius * 0.4, radius * 4, radius * 0.8, (236, 228, 204), rng)


_FEATURES = {
    "clock": _clock,
    "rose": _rose,
    "shield": _shield,
    "relief": _relief,
    "niche": _niche,
    "mosaic": _mosaic,
    "sundial": _sundial,
    "letters": _letters,
}
