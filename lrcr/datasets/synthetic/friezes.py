"""Bands of ornament between storeys: one motif, repeated in a random pattern."""

from dataclasses import dataclass

import numpy as np

from lrcr.datasets.synthetic.arches import outline
from lrcr.datasets.synthetic.canvas import Canvas
from lrcr.datasets.synthetic.ornaments import draw_letters
from lrcr.datasets.synthetic.style import Colour, Palette, tint


def draw_frieze(
    canvas: Canvas, kind: str, x: float, y: float, width: float, height: float, palette: Palette, seed: int
) -> None:
    """Draw a band of ornament from `x` to `x + width` (metres); `seed` determines letters and the pattern of motifs."""
    rng = np.random.default_rng(seed)
    light, dark = palette.trim, tint(palette.trim, 0.62)
    canvas.rectangle(x, y, width, height, light, 0.2)
    if kind == "letters":
        draw_letters(canvas, x + width * 0.08, y + height * 0.15, width * 0.84, height * 0.7, palette.accent, rng)
    elif kind != "plain":
        count = max(3, round(width / (height * float(rng.uniform(0.9, 1.6)))))
        pattern = rng.integers(0, 2, 4)
        pitch = width / count
        for index in range(count):
            centre = x + pitch * (index + 0.5)
            motif = _Motif(centre, y, pitch, height, dark, bool(pattern[index % 4]), palette)
            _MOTIFS[kind](canvas, motif)
    canvas.rectangle(x, y + height * 0.9, width, height * 0.25, light, 0.45)


@dataclass(frozen=True)
class _Motif:
    """A motif of a frieze, centred on `x`, its foot at `y`, `pitch` wide (metres); `odd` selects its second variant."""

    x: float
    y: float
    pitch: float
    height: float
    dark: Colour
    odd: bool
    palette: Palette


def _dentils(canvas: Canvas, motif: _Motif) -> None:
    y, pitch, high = motif.y + motif.height * 0.35, motif.pitch, motif.height * 0.5
    canvas.rectangle(motif.x - pitch * 0.28, y, pitch * 0.56, high, motif.palette.trim, 0.5)
    canvas.rectangle(motif.x + pitch * 0.28, y, pitch * 0.44, high, motif.dark, 0.0)


def _triglyphs(canvas: Canvas, motif: _Motif) -> None:
    pitch, height = motif.pitch, motif.height
    if motif.odd:
        canvas.ellipse(motif.x, motif.y + height * 0.5, height * 0.3, height * 0.3, motif.dark, 0.3)
        return
    for bar in (-0.25, 0, 0.25):
        left = motif.x + pitch * (bar - 0.07)
        canvas.rectangle(left, motif.y + height * 0.1, pitch * 0.14, height * 0.75, motif.dark, 0.3)


def _meander(canvas: Canvas, motif: _Motif) -> None:
    left, right = motif.x - motif.pitch * 0.4, motif.x + motif.pitch * 0.4
    low, high = motif.y + motif.height * 0.2, motif.y + motif.height * 0.75
    end = (low + high) / 2 if motif.odd else low
    canvas.line(
        [(left, low), (left, high), (right, high), (right, end), (motif.x, end)], motif.height * 0.14, motif.dark, 0.1
    )


def _swags(canvas: Canvas, motif: _Motif) -> None:
    colour = motif.palette.accent if motif.odd else motif.dark
    for step in range(5):
        angle = np.pi * (step + 0.5) / 5
        x = motif.x - motif.pitch * 0.4 * float(np.cos(angle))
        y = motif.y + motif.height * (0.75 - 0.5 * float(np.sin(angle)))
        canvas.ellipse(x, y, motif.pitch * 0.09, motif.height * 0.13, colour, 0.35)


def _rosettes(canvas: Canvas, motif: _Motif) -> None:
    _draw_petals(canvas, motif, 6)


def _quatrefoil(canvas: Canvas, motif: _Motif) -> None:
    _draw_petals(canvas, motif, 4)


def _draw_petals(canvas: Canvas, motif: _Motif, petals: int) -> None:
    y, radius = motif.y + motif.height * 0.45, min(motif.pitch, motif.height) * 0.42
    colour = motif.dark if motif.odd else motif.palette.accent
    for angle in np.linspace(0, 2 * np.pi, petals, endpoint=False):
        centre = (motif.x + radius * 0.55 * float(np.cos(angle)), y + radius * 0.55 * float(np.sin(angle)))
        canvas.ellipse(*centre, radius * 0.42, radius * 0.42, colour, 0.3)


def _stars(canvas: Canvas, motif: _Motif) -> None:
    y, radius = motif.y + motif.height * 0.45, min(motif.pitch, motif.height) * 0.42
    turn = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    reach = radius * np.where(np.arange(16) % 2, 0.45, 1.0)
    points = [(motif.x + float(r * np.cos(a)), y + float(r * np.sin(a))) for a, r in zip(turn, reach, strict=True)]
    canvas.polygon(points, motif.dark if motif.odd else motif.palette.accent, 0.3)


def _arcade(canvas: Canvas, motif: _Motif) -> None:
    colour = motif.dark if motif.odd else tint(motif.palette.wall, 0.8)
    canvas.polygon(outline("round", motif.x, motif.y, motif.pitch * 0.66, motif.height * 0.8), colour, 0.0)


def _zigzag(canvas: Canvas, motif: _Motif) -> None:
    x, y, half = motif.x, motif.y, motif.pitch / 2
    colour = motif.dark if motif.odd else motif.palette.accent
    canvas.polygon([(x - half, y), (x + half, y), (x, y + motif.height * 0.85)], colour, 0.25)


def _checks(canvas: Canvas, motif: _Motif) -> None:
    colour, high = motif.palette.accent if motif.odd else motif.dark, motif.height * 0.42
    for row in range(2):
        shift = motif.pitch * (0.25 if (row == 0) == motif.odd else -0.25)
        left = motif.x + shift - motif.pitch * 0.25
        canvas.rectangle(left, motif.y + high * row, motif.pitch * 0.5, high, colour, 0.22)


def _sunburst(canvas: Canvas, motif: _Motif) -> None:
    for angle in np.linspace(0.15, np.pi - 0.15, 6 if motif.odd else 4):
        across, up = motif.pitch * 0.48 * float(np.cos(angle)), motif.height * 0.85 * float(np.sin(angle))
        canvas.line([(motif.x, motif.y), (motif.x + across, motif.y + up)], motif.height * 0.1, motif.dark, 0.25)


_MOTIFS = {
    "dentils": _dentils,
    "triglyphs": _triglyphs,
    "meander": _meander,
    "swags": _swags,
    "rosettes": _rosettes,
    "quatrefoil": _quatrefoil,
    "stars": _stars,
    "arcade": _arcade,
    "zigzag": _zigzag,
    "checks": _checks,
    "sunburst": _sunburst,
}
