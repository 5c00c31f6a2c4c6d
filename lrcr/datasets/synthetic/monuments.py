"""Free-standing monuments in front of a building: a statue, a column, an obelisk, a fountain, a rider."""

from dataclasses import dataclass

import numpy as np

from lrcr.datasets.synthetic.canvas import Canvas
from lrcr.datasets.synthetic.ornaments import draw_figure, draw_shaft
from lrcr.datasets.synthetic.style import Colour, Palette, tint

_KINDS = ("statue", "column", "obelisk", "fountain", "rider")
_METALS: tuple[Colour, ...] = ((92, 128, 112), (70, 66, 62), (150, 144, 134), (176, 140, 74))


@dataclass(frozen=True)
class Monument:
    """A monument: its size (width, height) and the position of its foot (x, z), both in metres, and its design."""

    kind: str
    size: tuple[float, float]
    position: tuple[float, float]
    colour: Colour
    seed: int


def sample_monument(rng: np.random.Generator, height: float, width: float, front: float) -> Monument | None:
    """Sample the monument of a building of this size (metres), its front at z = `front`; None with probability 0.4."""
    if rng.random() < 0.4:
        return None
    kind = str(rng.choice(_KINDS))
    tall = float(np.clip(height * rng.uniform(0.28, 0.5), 4.0, 11.0))
    wide = tall * {"statue": 0.55, "column": 0.4, "obelisk": 0.36, "fountain": 1.1, "rider": 0.8}[kind]
    position = (float(rng.uniform(-0.38, 0.38)) * width, front + float(rng.uniform(4.5, 8.0)))
    return Monument(kind, (wide, tall), position, _METALS[int(rng.integers(len(_METALS)))], int(rng.integers(2**31)))


def draw_monument(canvas: Canvas, monument: Monument, palette: Palette) -> None:
    """Draw a monument whose foot is at (0, 0), in metres."""
    rng = np.random.default_rng(monument.seed)
    half, high = monument.size[0] / 2, monument.size[1]
    stone = tint(palette.trim, 0.85)
    steps = int(rng.integers(1, 4))
    for step in range(steps):
        reach = half * (1 - 0.12 * step)
        canvas.rectangle(-reach, 0.3 * step, 2 * reach, 0.3, tint(stone, 0.9 + 0.05 * step), 0.6 - 0.15 * step)
    _DRAWERS[monument.kind](canvas, half, 0.3 * steps, high, stone, monument.colour, rng)


def _pedestal(canvas: Canvas, half: float, y: float, height: float, stone: Colour, rng: np.random.Generator) -> float:
    canvas.rectangle(-half, y, 2 * half, height, stone, 0.3)
    canvas.rectangle(
        -half * 0.7, y + height * 0.25, half * 1.4, height * 0.5, tint(stone, float(rng.uniform(0.75, 0.95))), 0.2
    )
    canvas.rectangle(-half * 1.15, y + height - 0.3, half * 2.3, 0.3, stone, 0.5)
    return y + height


def _statue(
    canvas: Canvas, half: float, y: float, high: float, stone: Colour, metal: Colour, rng: np.random.Generator
) -> None:
    y = _pedestal(canvas, half * 0.6, y, high * float(rng.uniform(0.35, 0.5)), stone, rng)
    draw_figure(canvas, 0.0, y, (high - y) * 0.92, metal, rng)


def _column(
    canvas: Canvas, half: float, y: float, high: float, stone: Colour, metal: Colour, rng: np.random.Generator
) -> None:
    y = _pedestal(canvas, half * 0.75, y, high * 0.16, stone, rng)
    shaft = high * 0.55
    draw_shaft(canvas, 0.0, y, half * 0.4, shaft, stone, flutes=bool(rng.random() < 0.5))
    for level in rng.uniform(0.15, 0.85, int(rng.integers(0, 4))):
        canvas.rectangle(-half * 0.46, y + shaft * float(level), half * 0.92, shaft * 0.06, metal, 0.8)
    canvas.rectangle(-half * 0.65, y + shaft, half * 1.3, high * 0.04, stone, 0.8)
    draw_figure(canvas, 0.0, y + shaft + high * 0.04, high * 0.2, metal, rng)


def _obelisk(
    canvas: Canvas, half: float, y: float, high: float, stone: Colour, metal: Colour, rng: np.random.Generator
) -> None:
    y = _pedestal(canvas, half * 0.8, y, high * 0.2, stone, rng)
    foot, neck, tip = half * 0.55, half * 0.36, high * 0.9
    canvas.polygon([(-foot, y), (foot, y), (neck, tip), (0.0, high), (-neck, tip)], tint(stone, 0.95), 0.4)
    for level in np.linspace(y + 0.4, tip - 0.4, int(rng.integers(3, 8))):
        kind, size = rng.integers(3), half * 0.2
        if kind == 0:
            canvas.ellipse(0.0, float(level), size, size * 0.7, tint(stone, 0.6), 0.3)
        elif kind == 1:
            canvas.rectangle(-size, float(level) - 0.12, 2 * size, 0.24, metal, 0.3)
        else:
            canvas.line(
                [(-size, float(level) - 0.2), (0.0, float(level) + 0.2), (size, float(level) - 0.2)],
                0.12,
                tint(stone, 0.55),
                0.3,
            )


def _fountain(
    canvas: Canvas, half: float, y: float, high: float, stone: Colour, metal: Colour, rng: np.random.Generator
) -> None:
    tiers = int(rng.integers(2, 4))
    for tier in range(tiers):
        reach, low = half * (0.95 - 0.32 * tier), y + (high - y) * 0.75 * tier / tiers
        bowl = (high - y) * 0.1
        canvas.rectangle(-half * 0.1, low, half * 0.2, (high - y) * 0.75 / tiers, stone, 0.4)
        top = low + (high - y) * 0.75 / tiers * (0.35 if tier == 0 else 0.85)
        canvas.polygon([(-reach * 0.5, top - bowl), (reach * 0.5, top - bowl), (reach, top), (-reach, top)], stone, 0.7)
        canvas.rectangle(-reach, top, 2 * reach, bowl * 0.3, (150, 176, 186), 0.8)
        for x in np.linspace(-reach * 0.8, reach * 0.8, 5):
            canvas.ellipse(float(x), top - bowl * 0.45, bowl * 0.2, bowl * 0.2, metal, 0.8)
    draw_figure(canvas, 0.0, y + (high - y) * 0.72, (high - y) * 0.26, metal, rng)


def _rider(
    canvas: Canvas, half: float, y: float, high: float, stone: Colour, metal: Colour, rng: np.random.Generator
) -> None:
    y = _pedestal(canvas, half * 0.8, y, high * float(rng.uniform(0.3, 0.45)), stone, rng)
    size, facing = high - y, float(rng.choice([-1, 1]))
    back = y + size * 0.45
    canvas.ellipse(0.0, back, half * 0.5, size * 0.13, metal, 0.5)
    for leg in (-0.42, -0.3, 0.3, 0.42):
        knee = (half * (leg + float(rng.uniform(-0.08, 0.08))), y + size * 0.2)
        canvas.line([(half * leg, back), knee, (half * leg, y)], size * 0.05, tint(metal, 0.9), 0.4)
    canvas.line([(facing * half * 0.4, back), (facing * half * 0.62, y + size * 0.68)], size * 0.13, metal, 0.5)
    canvas.line(
        [(facing * half * 0.6, y + size * 0.68), (facing * half * 0.8, y + size * 0.6)], size * 0.08, metal, 0.5
    )
    canvas.line([(-facing * half * 0.45, back), (-facing * half * 0.66, y + size * 0.2)], size * 0.05, metal, 0.4)
    draw_figure(canvas, 0.0, back, size * 0.52, tint(metal, 1.1), rng)


_DRAWERS = {"statue": _statue, "column": _column, "obelisk": _obelisk, "fountain": _fountain, "rider": _rider}
