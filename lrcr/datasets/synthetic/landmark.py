"""One building: textured planes in space, built once and rendered in many views."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lrcr.datasets.synthetic.arches import outline
from lrcr.datasets.synthetic.canvas import Bytes, Canvas, Texture
from lrcr.datasets.synthetic.crowns import crown_height, draw_crown
from lrcr.datasets.synthetic.facade import Scheme, draw_front, draw_porch, draw_wall, sample_scheme
from lrcr.datasets.synthetic.masonry import cladding
from lrcr.datasets.synthetic.massing import Mass, sample_masses
from lrcr.datasets.synthetic.monuments import Monument, draw_monument, sample_monument
from lrcr.datasets.synthetic.style import PALETTES, STYLES, vary
from lrcr.datasets.synthetic.tops import PITCHED, draw_top, top_height

Vector = npt.NDArray[np.float64]
_MARGIN = 1.2  # metres beside a wall, for parts that project sideways
_COARSE = 0.5  # relative resolution of side walls and roofs, which views show foreshortened
_OVERHANG = 0.4
_X, _Y, _Z = np.eye(3)


@dataclass(frozen=True)
class Plane:
    """A texture in space: x to the right, y upwards, z towards the street, in metres.

    Args:
        origin: position of the texture's lower left corner, of shape (3,).
        across, up: unit vectors of the texture's axes, of shape (3,).
        turning: whether it represents a round body and is rotated half-way towards the viewer about its middle.
    """

    texture: Texture
    origin: Vector
    across: Vector
    up: Vector
    turning: bool = False

    @property
    def normal(self) -> Vector:
        """Unit normal, pointing outwards, of shape (3,)."""
        (a, b, c), (d, e, f) = self.across, self.up
        return np.array([b * f - c * e, c * d - a * f, a * e - b * d])

    @property
    def middle(self) -> Vector:
        """The middle of the texture, of shape (3,)."""
        middle: Vector = self.origin + self.across * self.texture.width / 2 + self.up * self.texture.height / 2
        return middle

    def turned(self, yaw: float) -> "Plane":
        """The plane for a viewer at the azimuth `yaw` (radians): rotated if it is `turning`."""
        if not self.turning:
            return self
        across = np.array([np.cos(yaw / 2), 0.0, -np.sin(yaw / 2)])
        origin = self.middle - across * self.texture.width / 2 - self.up * self.texture.height / 2
        return replace(self, origin=origin, across=across)


@dataclass(frozen=True)
class Landmark:
    """The planes of one building and its bounding box: `low` and `high` corners, of shape (3,), in metres."""

    planes: tuple[Plane, ...]
    low: Vector
    high: Vector

    @property
    def extent(self) -> float:
        """The larger of width and height, in metres."""
        return float(max(self.high[0] - self.low[0], self.high[1] - self.low[1]))


@dataclass(frozen=True)
class _Materials:
    """Decoration and masonry of one building; patches for its walls are at the full and at the coarse scale."""

    scheme: Scheme
    scale: float
    walls: tuple[Bytes, Bytes]
    tiles: Bytes


def build_landmark(seed: int, detail: int) -> Landmark:
    """Build one building, which `seed` alone determines.

    Args:
        detail: pixels along its larger side in the finest textures.
    """
    rng = np.random.default_rng(seed)
    style = STYLES[int(rng.integers(len(STYLES)))]
    palette = vary(PALETTES[int(rng.integers(len(PALETTES)))], rng)
    masses = sample_masses(style, rng)
    scheme = sample_scheme(style, palette, rng)
    low, high = _bounds(masses)
    monument = sample_monument(rng, high[1], high[0] - low[0], high[2])
    scale = detail / float(max(high[0] - low[0], high[1] - low[1]))
    walls = (cladding(scheme.masonry, palette, rng, scale), cladding(scheme.masonry, palette, rng, scale * _COARSE))
    materials = _Materials(scheme, scale, walls, cladding("tiles", palette, rng, scale * _COARSE))
    planes = [plane for mass in masses for plane in _planes(mass, materials)]
    if monument is not None:
        planes.append(_monument(monument, materials))
    return Landmark(tuple(planes), low, high)


def _bounds(masses: list[Mass]) -> tuple[Vector, Vector]:
    left, right = min(m.x - m.width / 2 for m in masses), max(m.x + m.width / 2 for m in masses)
    top = max(max(m.height + top_height(m.top, m.width), _crown_top(m)) for m in masses)
    front = max(m.front for m in masses)
    return np.array([left, 0.0, front - 6.0]), np.array([right, top, front])


def _planes(mass: Mass, materials: _Materials) -> list[Plane]:
    planes = [*_sides(mass, materials), _front(mass, materials)]
    if mass.top in PITCHED and not mass.crown:
        planes += _roof(mass, materials)
    if mass.crown:
        planes.append(_crown(mass, materials))
    return planes


def _wall(width: float, height: float, materials: _Materials, detail: float, draw: Callable[[Canvas], None]) -> Texture:
    """The texture of a wall and its margin; `draw` draws it with x = 0 at its middle and y = 0 at its foot."""
    scheme = materials.scheme
    canvas = Canvas(
        -width / 2 - _MARGIN, 0.0, width + 2 * _MARGIN, height, materials.scale * detail, scheme.palette.wall
    )
    draw(canvas)
    return canvas.texture()


def _front(mass: Mass, materials: _Materials) -> Plane:
    scheme = materials.scheme

    def draw(canvas: Canvas) -> None:
        if mass.role == "porch":
            draw_porch(canvas, mass, scheme, materials.walls[0])
        else:
            draw_front(canvas, mass, scheme, materials.walls[0])
        draw_top(canvas, mass.top, mass.width, mass.height, scheme.palette, scheme.gable, scheme.seed + 1)

    texture = _wall(mass.width, mass.height + top_height(mass.top, mass.width) + 1.0, materials, 1.0, draw)
    return Plane(texture, np.array([mass.x - texture.width / 2, 0.0, mass.front]), _X, _Y)


def _sides(mass: Mass, materials: _Materials) -> list[Plane]:
    scheme = materials.scheme

    def draw(canvas: Canvas) -> None:
        if mass.role == "porch":
            draw_porch(canvas, replace(mass, width=mass.depth, bays=1), scheme, materials.walls[1])
            return
        bays = max(1, round(mass.depth * mass.bays / mass.width))
        draw_wall(canvas, mass.depth, mass.height, bays, mass.storeys, scheme, materials.walls[1])
        canvas.rectangle(-mass.depth / 2 - 0.2, mass.height - 0.5, mass.depth + 0.4, 0.6, scheme.palette.trim, 0.6)

    texture = _wall(mass.depth, mass.height + 0.2, materials, _COARSE, draw)
    back, front = mass.front - mass.depth / 2 - texture.width / 2, mass.front - mass.depth / 2 + texture.width / 2
    left = Plane(texture, np.array([mass.x - mass.width / 2, 0.0, back]), _Z, _Y)
    right = Plane(texture, np.array([mass.x + mass.width / 2, 0.0, front]), -_Z, _Y)
    return [left, right]


def _roof(mass: Mass, materials: _Materials) -> list[Plane]:
    """The slopes of a hipped roof, or the two slopes behind a gable."""
    run = mass.width / 2 if mass.top == "gable" else min(mass.depth, mass.width, 12.0) / 2
    rise = top_height("gable", mass.width) if mass.top == "gable" else run * PITCHED[mass.top]
    length = float(np.hypot(run, rise))
    hip = 0.0 if mass.top == "gable" else run
    y, inwards = mass.height, np.array([run, rise]) / length
    side = _slope(mass.depth, length, hip, 0, materials)
    back, front = mass.front - mass.depth - _OVERHANG, mass.front + _OVERHANG
    left_edge, right_edge = mass.x - mass.width / 2 - _OVERHANG, mass.x + mass.width / 2 + _OVERHANG
    slopes = [
        Plane(side, np.array([left_edge, y, back]), _Z, inwards[0] * _X + inwards[1] * _Y),
        Plane(side, np.array([right_edge, y, front]), -_Z, -inwards[0] * _X + inwards[1] * _Y),
    ]
    if hip:
        dormers = mass.bays if mass.top == "mansard" else mass.bays // 2 if mass.top == "steep" else 0
        texture = _slope(mass.width, length, hip, dormers, materials)
        slopes.append(Plane(texture, np.array([left_edge, y, front]), _X, inwards[1] * _Y - inwards[0] * _Z))
    return slopes


def _slope(width: float, length: float, hip: float, dormers: int, materials: _Materials) -> Texture:
    palette, span = materials.scheme.palette, width + 2 * _OVERHANG
    canvas = Canvas(-span / 2, 0.0, span, length, materials.scale * _COARSE, palette.roof)
    half = span / 2
    canvas.cover([(-half, 0.0), (half, 0.0), (half - hip, length), (hip - half, length)], materials.tiles)
    for index in range(dormers):
        x, high = span * 0.8 * ((index + 0.5) / dormers - 0.5), min(2.2, length * 0.5)
        canvas.polygon(outline(materials.scheme.door.arch, x, 0.5, 1.8, high * 1.25), palette.trim, 0.8)
        canvas.glass(outline(materials.scheme.door.arch, x, 0.6, 1.1, high), palette.glass)
    return canvas.texture()


def _crown_width(mass: Mass) -> float:
    return mass.width if mass.role == "tower" else min(0.45 * mass.width, 10.0)


def _crown_top(mass: Mass) -> float:
    return mass.height + crown_height(mass.crown, _crown_width(mass)) if mass.crown else 0.0


def _crown(mass: Mass, materials: _Materials) -> Plane:
    scheme, width = materials.scheme, _crown_width(mass)
    high = crown_height(mass.crown, width)
    canvas = Canvas(-0.65 * width, 0.0, 1.3 * width, high, materials.scale, scheme.palette.roof)
    draw_crown(canvas, mass.crown, width, 0.0, scheme.palette, scheme.seed)
    texture = canvas.texture()
    depth = mass.front - min(mass.depth / 2, 6.0)
    return Plane(texture, np.array([mass.x - texture.width / 2, mass.height, depth]), _X, _Y, turning=True)


def _monument(monument: Monument, materials: _Materials) -> Plane:
    width, high = monument.size
    canvas = Canvas(-0.6 * width, 0.0, 1.2 * width, high, materials.scale, monument.colour)
    draw_monument(canvas, monument, materials.scheme.palette)
    texture = canvas.texture()
    x, z = monument.position
    return Plane(texture, np.array([x - texture.width / 2, 0.0, z]), _X, _Y, turning=True)
