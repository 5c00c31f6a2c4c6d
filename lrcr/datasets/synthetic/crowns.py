"""Crowns of towers: spires, domes, onion domes, lanterns; most are bodies of revolution."""

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from lrcr.datasets.synthetic.arches import outline
from lrcr.datasets.synthetic.canvas import Canvas, Point
from lrcr.datasets.synthetic.style import Colour, Palette, tint

_CROWN_SHARE = {
    "spire": 2.4,
    "pinnacled": 1.3,
    "crenelled": 0.3,
    "dome": 1.15,
    "lantern": 1.3,
    "cupola": 1.5,
    "pyramid": 1.1,
    "onion": 1.6,
    "ziggurat": 0.9,
}


def crown_height(kind: str, width: float) -> float:
    """Height of a crown above its tower, in metres."""
    return _CROWN_SHARE[kind] * width


def draw_crown(canvas: Canvas, kind: str, width: float, foot: float, palette: Palette, seed: int) -> None:
    """Draw the crown of a tower of the given width, centred on x = 0, upwards from the height `foot` (metres)."""
    rng = np.random.default_rng(seed)
    _CROWNS[kind](canvas, width / 2, foot, crown_height(kind, width), palette, rng)


def revolve(
    canvas: Canvas, y: float, profile: Sequence[Point], colour: Colour, ribs: int, rib_tone: float = 0.82
) -> None:
    """Draw a body of revolution about x = 0 from `profile`: (radius, height above `y`); every other rib is darker."""
    edges = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 2 * ribs + 1))
    for strip, (left, right) in enumerate(itertools.pairwise(edges)):
        ring = [(r * float(left), y + h) for r, h in profile] + [
            (r * float(right), y + h) for r, h in reversed(profile)
        ]
        widest = max(radius for radius, _ in profile)
        depth = 0.7 * widest * float(np.sqrt(max(0.0, 1 - ((left + right) / 2) ** 2)))
        canvas.polygon(ring, tint(colour, rib_tone) if strip % 2 else colour, min(depth, 2.4))


def _arch_profile(radius: float, height: float, bulge: float) -> list[Point]:
    """Profile of a dome; with `bulge` above 0 an onion dome, wider than its foot and pointed."""
    angles = np.linspace(0, np.pi / 2, 10)
    swell = 1 + bulge * np.sin(np.linspace(0, np.pi, 10) * 0.9) * 1.4
    radii = radius * np.cos(angles) ** (1 + bulge) * swell
    heights = height * np.sin(angles) ** (1 - 0.3 * bulge)
    return [(float(r), float(h)) for r, h in zip(radii, heights, strict=True)]


def _finial(canvas: Canvas, y: float, size: float, palette: Palette) -> None:
    canvas.line([(0.0, y - size * 0.2), (0.0, y + size)], 0.16, tint(palette.trim, 0.7), 0.6)
    canvas.ellipse(0.0, y + size * 0.35, size * 0.16, size * 0.16, (206, 170, 80), 0.6)


def _drum(canvas: Canvas, half: float, y: float, height: float, palette: Palette, openings: int) -> None:
    revolve(canvas, y, [(half, 0.0), (half, height)], palette.wall, ribs=5, rib_tone=0.96)
    pitch = 2 * half / openings
    for index in range(openings):
        centre = -half + pitch * (index + 0.5)
        canvas.glass(outline("round", centre, y + height * 0.2, pitch * 0.45, height * 0.6), palette.glass)
    canvas.rectangle(-half * 1.08, y + height * 0.9, half * 2.16, height * 0.15, palette.trim, 0.9)


def _spire(canvas: Canvas, half: float, y: float, high: float, palette: Palette, rng: np.random.Generator) -> None:
    flare = float(rng.uniform(0.6, 1.0))
    revolve(
        canvas,
        y,
        [(half * 1.05, 0.0), (half * 0.75 * flare, high * 0.18), (0.05, high * 0.92)],
        palette.roof,
        int(rng.integers(2, 5)),
    )
    for level in np.arange(0.2, 0.8, float(rng.uniform(0.12, 0.3))):
        reach = half * 0.75 * flare * (1 - (level - 0.18) / 0.76)
        canvas.rectangle(-reach, y + high * float(level), 2 * reach, 0.35, palette.trim, 0.8)
    _finial(canvas, y + high * 0.9, high * 0.1, palette)


def _pinnacled(canvas: Canvas, half: float, y: float, high: float, palette: Palette, rng: np.random.Generator) -> None:
    revolve(canvas, y, [(half * 0.7, 0.0), (half * 0.6, high * 0.2), (0.05, high * 0.95)], palette.roof, 3)
    for x in (-half * 0.85, half * 0.85):
        canvas.rectangle(x - half * 0.15, y, half * 0.3, high * 0.3, palette.trim, 0.5)
        canvas.polygon(
            [
                (x - half * 0.2, y + high * 0.3),
                (x + half * 0.2, y + high * 0.3),
                (x, y + high * float(rng.uniform(0.5, 0.7))),
            ],
            palette.trim,
            0.5,
        )


def _crenelled(canvas: Canvas, half: float, y: float, high: float, palette: Palette, rng: np.random.Generator) -> None:
    canvas.rectangle(-half * 1.1, y, half * 2.2, high * 0.5, palette.wall, 0.5)
    for x in np.linspace(-1.1, 1.1, 2 * int(rng.integers(2, 5)) + 2)[:-1:2]:
        canvas.rectangle(half * float(x), y + high * 0.5, half * 0.28, high * 0.5, palette.wall, 0.5)


def _dome(canvas: Canvas, half: float, y: float, high: float, palette: Palette, rng: np.random.Generator) -> None:
    drum = high * float(rng.uniform(0.2, 0.35))
    _drum(canvas, half * 0.92, y, drum, palette, int(rng.integers(3, 8)))
    revolve(canvas, y + drum, _arch_profile(half, (high - drum) * 0.78, 0.0), palette.roof, int(rng.integers(3, 8)))
    _drum(canvas, half * 0.18, y + drum + (high - drum) * 0.74, high * 0.12, palette, 2)
    _finial(canvas, y + high * 0.9, high * 0.1, palette)


def _lantern(canvas: Canvas, half: float, y: float, high: float, palette: Palette, rng: np.random.Generator) -> None:
    stages = int(rng.integers(2, 4))
    for stage in range(stages):
        reach = half * (0.85 - 0.25 * stage)
        _drum(canvas, reach, y + high * 0.8 * stage / stages, high * 0.8 / stages, palette, int(rng.integers(2, 5)))
    revolve(canvas, y + high * 0.8, _arch_profile(half * 0.4, high * 0.14, 0.0), palette.roof, 3)
    _finial(canvas, y + high * 0.92, high * 0.08, palette)


def _cupola(canvas: Canvas, half: float, y: float, high: float, palette: Palette, rng: np.random.Generator) -> None:
    skirt = float(rng.uniform(0.25, 0.4))
    revolve(canvas, y, [(half * 1.1, 0.0), (half * 0.9, high * 0.06), (half * 0.5, high * skirt)], palette.roof, 3)
    _drum(canvas, half * 0.45, y + high * skirt, high * 0.25, palette, int(rng.integers(2, 4)))
    revolve(canvas, y + high * (skirt + 0.25), _arch_profile(half * 0.55, high * (0.65 - skirt), 0.5), palette.roof, 3)
    _finial(canvas, y + high * 0.88, high * 0.12, palette)


def _pyramid(canvas: Canvas, half: float, y: float, high: float, palette: Palette, rng: np.random.Generator) -> None:
    revolve(canvas, y, [(half * 1.15, 0.0), (half * 1.1, high * 0.05), (0.1, high * 0.9)], palette.roof, 1, 0.9)
    for x in np.linspace(-0.4, 0.4, int(rng.integers(1, 4))):
        foot = y + high * 0.2
        canvas.polygon(
            [(half * float(x) - 0.5, foot), (half * float(x) + 0.5, foot), (half * float(x), foot + 1.6)],
            palette.trim,
            1.4,
        )
    _finial(canvas, y + high * 0.88, high * 0.12, palette)


def _onion(canvas: Canvas, half: float, y: float, high: float, palette: Palette, rng: np.random.Generator) -> None:
    drum = high * float(rng.uniform(0.12, 0.25))
    _drum(canvas, half * 0.7, y, drum, palette, int(rng.integers(2, 6)))
    profile = _arch_profile(half * 0.72, (high - drum) * 0.8, float(rng.uniform(0.35, 0.6)))
    revolve(canvas, y + drum, profile, palette.roof, int(rng.integers(3, 7)), 0.72)
    _finial(canvas, y + high * 0.82, high * 0.16, palette)


def _ziggurat(canvas: Canvas, half: float, y: float, high: float, palette: Palette, rng: np.random.Generator) -> None:
    stages = int(rng.integers(3, 6))
    for stage in range(stages):
        reach, low = half * (0.95 - 0.75 * stage / stages), y + high * 0.8 * stage / stages
        canvas.rectangle(-reach, low, 2 * reach, high * 0.8 / stages, palette.wall, 0.6 - 0.1 * stage)
        for x in np.linspace(-0.8, 0.8, 3 + 2 * int(rng.integers(0, 2))):
            canvas.rectangle(reach * float(x) - 0.12, low, 0.24, high * 0.8 / stages, palette.trim, 0.9 - 0.1 * stage)
    _finial(canvas, y + high * 0.8, high * 0.2, palette)


_CROWNS: dict[str, Callable[[Canvas, float, float, float, Palette, np.random.Generator], None]] = {
    "spire": _spire,
    "pinnacled": _pinnacled,
    "crenelled": _crenelled,
    "dome": _dome,
    "lantern": _lantern,
    "cupola": _cupola,
    "pyramid": _pyramid,
    "onion": _onion,
    "ziggurat": _ziggurat,
}
