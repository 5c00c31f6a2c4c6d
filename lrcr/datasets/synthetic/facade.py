"""The decoration of a building and the drawing of its walls: storeys of bays, with windows, supports and friezes."""

import itertools
from dataclasses import dataclass

import numpy as np

from lrcr.datasets.synthetic.arches import outline
from lrcr.datasets.synthetic.canvas import Bytes, Canvas
from lrcr.datasets.synthetic.features import draw_feature
from lrcr.datasets.synthetic.friezes import draw_frieze
from lrcr.datasets.synthetic.massing import Mass
from lrcr.datasets.synthetic.openings import Opening, draw_door, draw_window, sample_opening
from lrcr.datasets.synthetic.ornaments import draw_figure, draw_support
from lrcr.datasets.synthetic.style import Palette, Style, tint

_STOREYS = 7
_WINDOW, _ACCENT, _BLANK, _NICHE, _ROUNDEL = range(5)


@dataclass(frozen=True)
class Storey:
    """One storey: its windows, the filling of each bay from the middle outwards, and the frieze above."""

    window: Opening
    accent: Opening
    fillings: tuple[int, ...]
    frieze: str
    seed: int


@dataclass(frozen=True)
class Scheme:
    """The decoration of one building, shared by all its walls.

    Args:
        ground: height of the ground floor divided by that of another storey.
        giant: whether supports run through all storeys above the ground floor.
        feature, gable: the ornaments in the middle of the wall and of its gable (`features.draw_feature`).
    """

    palette: Palette
    masonry: str
    storeys: tuple[Storey, ...]
    door: Opening
    support: str
    giant: bool
    quoins: bool
    plinth: float
    ground: float
    feature: str
    gable: str
    beams: int
    seed: int


def sample_scheme(style: Style, palette: Palette, rng: np.random.Generator) -> Scheme:
    """Sample the decoration of one building of the style."""
    windows = [sample_opening(style, rng) for _ in range(3)]
    storeys = [_sample_storey(style, windows, rng) for _ in range(_STOREYS)]
    features = rng.choice(style.features, 2, replace=False)
    return Scheme(
        palette=palette,
        masonry=str(rng.choice(style.masonry)),
        storeys=tuple(storeys),
        door=sample_opening(style, rng),
        support=str(rng.choice(style.supports)),
        giant=bool(rng.random() < 0.5),
        quoins=bool(rng.random() < 0.4),
        plinth=float(rng.uniform(0.4, 1.4)),
        ground=float(rng.uniform(1.0, 1.5)),
        feature=str(features[0]),
        gable=str(features[1]),
        beams=int(rng.integers(1, 8)),
        seed=int(rng.integers(2**31)),
    )


def _sample_storey(style: Style, windows: list[Opening], rng: np.random.Generator) -> Storey:
    window, accent = (windows[int(index)] for index in rng.choice(3, 2, replace=False))
    fillings = rng.choice(5, 6, p=[0.62, 0.16, 0.08, 0.06, 0.08])
    if rng.random() < 0.45:
        fillings[:] = _WINDOW
    frieze = str(rng.choice(style.friezes)) if rng.random() < 0.6 else ""
    return Storey(window, accent, tuple(int(filling) for filling in fillings), frieze, int(rng.integers(2**31)))


def draw_front(canvas: Canvas, mass: Mass, scheme: Scheme, cladding: Bytes) -> None:
    """Draw the front of a mass up to its eaves; x = 0 is its middle, y = 0 the ground (metres)."""
    draw_wall(canvas, mass.width, mass.height, mass.bays, mass.storeys, scheme, cladding)
    if mass.passages:
        _draw_passages(canvas, mass, scheme)
    elif mass.role in ("body", "tower") and mass.front > -1:
        ground = _levels(mass.height, mass.storeys, scheme)[1]
        width = min(mass.width / mass.bays * 0.62, 3.4)
        high = ground * 0.82 - 0.4
        draw_door(canvas, scheme.door, 0.0, 0.0, width, high, scheme.palette)
    if mass.role != "wing" and mass.storeys > 1 and mass.width / mass.bays > 2.0:
        levels = _levels(mass.height, mass.storeys, scheme)
        middle = (levels[-2] + levels[-1]) / 2
        size = min((levels[-1] - levels[-2]) * 0.62, mass.width / mass.bays * 0.85)
        draw_feature(canvas, scheme.feature, 0.0, middle, size, scheme.palette, scheme.seed)


def draw_wall(
    canvas: Canvas, width: float, height: float, bays: int, storeys: int, scheme: Scheme, cladding: Bytes
) -> None:
    """Draw a wall with its storeys of windows; x = 0 is its middle, y = 0 the ground (metres)."""
    half = width / 2
    canvas.cover([(-half, 0.0), (half, 0.0), (half, height), (-half, height)], cladding)
    if scheme.masonry == "timber":
        _draw_beams(canvas, width, height, bays, storeys, scheme)
    levels = _levels(height, storeys, scheme)
    canvas.rectangle(-half - 0.15, 0.0, width + 0.3, scheme.plinth, tint(scheme.palette.trim, 0.86), 0.3)
    if scheme.quoins:
        _draw_quoins(canvas, half, height, scheme.palette)
    for floor in range(storeys):
        _draw_storey(canvas, width, bays, scheme.storeys[floor % _STOREYS], (levels[floor], levels[floor + 1]), scheme)
    if scheme.support != "none" and bays > 1:
        _draw_supports(canvas, width, bays, levels, scheme)


def _levels(height: float, storeys: int, scheme: Scheme) -> list[float]:
    shares = np.array([scheme.ground] + [1.0] * (storeys - 1))
    return [0.0, *(float(level) for level in height * np.cumsum(shares) / shares.sum())]


def _draw_storey(
    canvas: Canvas, width: float, bays: int, storey: Storey, span: tuple[float, float], scheme: Scheme
) -> None:
    low, high = span
    band = 0.14 * (high - low) if storey.frieze else 0.0
    if storey.frieze:
        draw_frieze(canvas, storey.frieze, -width / 2, high - band, width, band, scheme.palette, storey.seed)
    pitch, clear = width / bays, high - band - low
    for bay in range(bays):
        x = pitch * (bay + 0.5) - width / 2
        filling = storey.fillings[round(abs(bay - (bays - 1) / 2)) % len(storey.fillings)]
        _fill_bay(canvas, filling, storey, x, low, pitch, clear, scheme.palette, bay)


def _fill_bay(
    canvas: Canvas,
    filling: int,
    storey: Storey,
    x: float,
    low: float,
    pitch: float,
    clear: float,
    palette: Palette,
    bay: int,
) -> None:
    middle = low + clear * 0.52
    if filling in (_WINDOW, _ACCENT):
        opening = storey.window if filling == _WINDOW else storey.accent
        across, up = opening.fill
        draw_window(canvas, opening, x, low + clear * (1 - up) * 0.55, pitch * across, clear * up * 0.94, palette)
    elif filling == _NICHE:
        high = clear * 0.66
        canvas.polygon(outline("round", x, low + clear * 0.16, pitch * 0.44, high), tint(palette.wall, 0.62), -0.5)
        draw_figure(canvas, x, low + clear * 0.16, high * 0.82, palette.trim, np.random.default_rng(storey.seed + bay))
    elif filling == _ROUNDEL:
        radius = min(pitch, clear) * 0.27
        canvas.ellipse(x, middle, radius * 1.25, radius * 1.25, palette.trim, 0.25)
        canvas.ellipse(x, middle, radius, radius, palette.glass, -0.4)
        canvas.line([(x - radius, middle), (x + radius, middle)], 0.15, palette.trim, -0.1)
        canvas.line([(x, middle - radius), (x, middle + radius)], 0.15, palette.trim, -0.1)
    elif filling == _BLANK:
        canvas.rectangle(x - pitch * 0.3, low + clear * 0.2, pitch * 0.6, clear * 0.62, palette.trim, 0.12)
        canvas.rectangle(x - pitch * 0.24, low + clear * 0.25, pitch * 0.48, clear * 0.52, palette.wall, -0.1)


def _draw_supports(canvas: Canvas, width: float, bays: int, levels: list[float], scheme: Scheme) -> None:
    giant = scheme.giant and len(levels) > 2
    spans = [(levels[1], levels[-1])] if giant else list(itertools.pairwise(levels))
    thick = min(0.22 * width / bays, 1.1)
    for low, high in spans:
        foot = max(low, scheme.plinth)
        for edge in range(bays + 1):
            x = min(max(width * (edge / bays - 0.5), -width / 2 + thick * 0.6), width / 2 - thick * 0.6)
            draw_support(canvas, scheme.support, x, foot, thick, (high - foot) * 0.86, scheme.palette)


def _draw_quoins(canvas: Canvas, half: float, height: float, palette: Palette) -> None:
    for index, y in enumerate(np.arange(0.6, height - 0.6, 0.7)):
        long = 1.3 if index % 2 else 0.8
        for left in (-half - 0.05, half + 0.05 - long):
            canvas.rectangle(left, float(y), long, 0.6, palette.trim, 0.18)


def _draw_beams(canvas: Canvas, width: float, height: float, bays: int, storeys: int, scheme: Scheme) -> None:
    """Draw posts, rails and braces; each bit of `scheme.beams` switches one kind of brace on."""
    dark, levels = tint(scheme.palette.accent, 0.75), _levels(height, storeys, scheme)
    pitch = width / bays
    for low, high in itertools.pairwise(levels):
        for bay in range(bays):
            left, right = pitch * bay - width / 2, pitch * (bay + 1) - width / 2
            middle = (low + high) / 2
            if scheme.beams & 1:
                canvas.line([(left, low), (left + pitch * 0.25, high)], 0.22, dark, 0.08)
                canvas.line([(right, low), (right - pitch * 0.25, high)], 0.22, dark, 0.08)
            if scheme.beams & 2:
                canvas.line([(left, low), (right, middle - (high - low) * 0.22)], 0.22, dark, 0.08)
                canvas.line([(right, low), (left, middle - (high - low) * 0.22)], 0.22, dark, 0.08)
            if scheme.beams & 4:
                canvas.line([(left, middle), (right, middle)], 0.22, dark, 0.08)
            canvas.line([(left, low), (left, high)], 0.28, dark, 0.1)
        canvas.line([(-width / 2, high), (width / 2, high)], 0.34, dark, 0.12)
    canvas.line([(width / 2, 0.0), (width / 2, height)], 0.28, dark, 0.1)


def _draw_passages(canvas: Canvas, mass: Mass, scheme: Scheme) -> None:
    pitch = mass.width / mass.passages
    for index in range(mass.passages):
        x = pitch * (index + 0.5) - mass.width / 2
        main = index == mass.passages // 2
        width, height = pitch * (0.56 if main else 0.44), mass.height * (0.66 if main else 0.48)
        arch = "round" if scheme.door.arch in ("flat", "circle") else scheme.door.arch
        canvas.polygon(outline(arch, x, 0.0, width + 1.0, height + 0.7), scheme.palette.trim, 0.25)
        canvas.cut(outline(arch, x, 0.0, width, height))


def draw_porch(canvas: Canvas, mass: Mass, scheme: Scheme, cladding: Bytes) -> None:
    """Draw a porch, a row of columns or an arcade, transparent between them; x = 0 is its middle (metres)."""
    half, entablature = mass.width / 2, 0.16 * mass.height
    clear, palette = mass.height - entablature, scheme.palette
    pitch = mass.width / mass.bays
    if scheme.support in ("column", "pilaster"):
        for edge in range(mass.bays + 1):
            x = pitch * edge * (1 - 0.7 / mass.width) - half + 0.35
            draw_support(canvas, "column", x, 0.5, min(0.34 * pitch, 1.3), clear - 0.5, palette)
    else:
        canvas.cover([(-half, 0.0), (half, 0.0), (half, clear), (-half, clear)], cladding)
        arch = "round" if scheme.door.arch in ("flat", "circle") else scheme.door.arch
        for bay in range(mass.bays):
            x = pitch * (bay + 0.5) - half
            canvas.polygon(outline(arch, x, 0.0, pitch * 0.86, clear * 0.94), palette.trim, 0.15)
            canvas.cut(outline(arch, x, 0.5, pitch * 0.72, clear * 0.86 - 0.5))
    canvas.rectangle(-half - 0.2, 0.0, mass.width + 0.4, 0.5, tint(palette.trim, 0.86), 0.4)
    storey = scheme.storeys[0]
    draw_frieze(canvas, storey.frieze or "plain", -half, clear, mass.width, entablature * 0.9, palette, storey.seed)
