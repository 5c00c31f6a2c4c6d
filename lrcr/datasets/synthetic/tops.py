"""The tops of walls: gables, parapets, battlements, attics."""

import numpy as np

from lrcr.datasets.synthetic.arches import outline
from lrcr.datasets.synthetic.canvas import Canvas, Point
from lrcr.datasets.synthetic.features import draw_feature
from lrcr.datasets.synthetic.ornaments import draw_figure, draw_letters
from lrcr.datasets.synthetic.style import Palette, tint

PITCHED = {"steep": 1.1, "low": 0.4, "mansard": 1.6, "gable": 0.9}  # tops with a roof behind them → slope of the roof
_TOP_HEIGHT = {
    "steep": 0.0,
    "low": 0.0,
    "mansard": 0.0,
    "balustrade": 1.6,
    "crenels": 1.8,
    "statues": 4.2,
    "attic": 3.2,
}
_TOP_SHARE = {
    "gable": 0.55,
    "pediment": 0.3,
    "scrolls": 0.5,
    "stepped": 0.5,
    "setback": 0.3,
    "signboard": 0.3,
    "pinnacles": 0.3,
}


def top_height(kind: str, width: float) -> float:
    """Height of the top of a wall above its eaves, in metres."""
    return _TOP_HEIGHT[kind] if kind in _TOP_HEIGHT else min(_TOP_SHARE[kind] * width, 9.0)


def draw_top(canvas: Canvas, kind: str, width: float, eaves: float, palette: Palette, feature: str, seed: int) -> None:
    """Draw the top of a wall centred on x = 0, from its eaves at the height `eaves` upwards (metres)."""
    rng = np.random.default_rng(seed)
    half, high = width / 2, top_height(kind, width)
    canvas.rectangle(-half - 0.4, eaves - 0.5, width + 0.8, 0.6, palette.trim, 0.7)
    if kind in ("balustrade", "statues", "crenels"):
        _draw_parapet(canvas, kind, half, eaves, palette, rng)
    elif kind in ("attic", "setback", "signboard"):
        _draw_blocks(canvas, kind, half, eaves, high, palette, rng)
    elif kind == "pinnacles":
        _draw_pinnacles(canvas, half, eaves, high, palette, rng)
    elif kind in ("gable", "pediment", "stepped", "scrolls"):
        rim = _gable(kind, half, eaves, high)
        canvas.polygon(rim, palette.trim, 0.6)
        centre = eaves + high * 0.36
        canvas.polygon([(x * 0.88, centre + (y - centre) * 0.8) for x, y in rim], palette.wall, 0.05)
        draw_feature(canvas, feature, 0.0, centre, min(high * 0.5, half * 0.6), palette, seed)


def _gable(kind: str, half: float, eaves: float, high: float) -> list[Point]:
    if kind in ("gable", "pediment"):
        return [(-half - 0.4, eaves), (half + 0.4, eaves), (0.0, eaves + high)]
    if kind == "stepped":
        steps = 5
        right: list[Point] = []
        for step in range(steps):
            reach = half * (1 - step / steps)
            right += [(reach, eaves + high * step / steps), (reach, eaves + high * (step + 1) / steps)]
    else:
        right = [(half * reach, eaves + high * level) for reach, level in _SCROLL]
    return [(-x, y) for x, y in right] + right[::-1]


_SCROLL = (
    (1.0, 0.0),
    (1.0, 0.12),
    (0.82, 0.16),
    (0.66, 0.3),
    (0.62, 0.5),
    (0.5, 0.54),
    (0.46, 0.7),
    (0.3, 0.9),
    (0.12, 1.0),
)


def _draw_parapet(
    canvas: Canvas, kind: str, half: float, eaves: float, palette: Palette, rng: np.random.Generator
) -> None:
    if kind == "crenels":
        canvas.rectangle(-half, eaves, 2 * half, 0.8, palette.wall, 0.2)
        teeth = max(3, round(half / float(rng.uniform(0.6, 1.1))))
        for x in np.linspace(-half, half, 2 * teeth)[:-1:2]:
            canvas.rectangle(float(x), eaves + 0.8, 2 * half / (2 * teeth - 1), 1.0, palette.wall, 0.2)
        return
    for x in np.arange(-half + 0.2, half, 0.55):
        canvas.rectangle(float(x), eaves, 0.28, 1.2, palette.trim, 0.2)
    canvas.rectangle(-half, eaves + 1.2, 2 * half, 0.3, palette.trim, 0.4)
    count = int(rng.integers(3, 8))
    for x in np.linspace(-half + 0.6, half - 0.6, count):
        canvas.rectangle(float(x) - 0.45, eaves, 0.9, 1.6, palette.trim, 0.4)
        if kind == "statues":
            draw_figure(canvas, float(x), eaves + 1.6, 2.5, tint(palette.trim, 0.9), rng)


def _draw_blocks(
    canvas: Canvas, kind: str, half: float, eaves: float, high: float, palette: Palette, rng: np.random.Generator
) -> None:
    steps = {"attic": (0.8,), "setback": (0.78, 0.5, 0.26), "signboard": (0.6,)}[kind]
    for step, reach in enumerate(steps):
        low = eaves + high * step / len(steps)
        canvas.rectangle(-half * reach, low, 2 * half * reach, high / len(steps), palette.wall, 0.0)
        canvas.rectangle(
            -half * reach - 0.2, low + high / len(steps) - 0.4, 2 * half * reach + 0.4, 0.4, palette.trim, 0.4
        )
        if kind == "setback":
            for x in np.linspace(-half * reach * 0.85, half * reach * 0.85, 5 + 2 * int(rng.integers(0, 3))):
                canvas.rectangle(float(x) - 0.2, low, 0.4, high / len(steps), palette.trim, 0.4)
    if kind == "signboard":
        canvas.rectangle(-half * 0.58, eaves + high * 0.1, half * 1.16, high * 0.8, palette.accent, 0.3)
    if kind != "setback":
        colour = (236, 228, 204) if kind == "signboard" else palette.accent
        draw_letters(canvas, -half * 0.52, eaves + high * 0.25, half * 1.04, high * 0.45, colour, rng)


def _draw_pinnacles(
    canvas: Canvas, half: float, eaves: float, high: float, palette: Palette, rng: np.random.Generator
) -> None:
    canvas.rectangle(-half, eaves, 2 * half, high * 0.3, palette.wall, 0.1)
    count = int(rng.integers(3, 8))
    for index, x in enumerate(np.linspace(-half + 0.5, half - 0.5, count)):
        tall = high * (1.0 if index % 2 == 0 else 0.7)
        canvas.rectangle(float(x) - 0.45, eaves, 0.9, tall * 0.5, palette.trim, 0.5)
        canvas.polygon(
            [(float(x) - 0.6, eaves + tall * 0.5), (float(x) + 0.6, eaves + tall * 0.5), (float(x), eaves + tall)],
            palette.trim,
            0.5,
        )
    for left, right in zip(
        np.linspace(-half + 0.5, half - 0.5, count)[:-1], np.linspace(-half + 0.5, half - 0.5, count)[1:], strict=True
    ):
        canvas.polygon(
            outline("pointed", float(left + right) / 2, eaves, float(right - left) * 0.6, high * 0.28),
            tint(palette.wall, 0.6),
            -0.2,
        )
