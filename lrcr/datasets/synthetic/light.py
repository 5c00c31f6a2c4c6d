"""The light of a view, by day, at dusk or at night, and the shading of a textured plane with relief."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from lrcr.datasets.synthetic.canvas import PANES, Bytes, Floats, Layer
from lrcr.datasets.synthetic.landmark import Plane, Vector

_SHADOW_REACHES = (0.15, 0.3, 0.55, 0.9, 1.4)  # metres towards the sun at which a pixel is tested for cast shadow


@dataclass(frozen=True)
class Light:
    """The light of one view; colours are factors of albedo, RGB.

    Args:
        kind: sun, golden, overcast, dusk or night.
        direction: unit vector towards the sun, at night towards floodlights on the ground; of shape (3,).
        sun, sky: direct and ambient light, of shape (3,).
        zenith, horizon: colours of the sky (0–255), of shape (3,).
        panes: light added to each pane of glass, and in row 0 to every pixel (0–255), of shape (PANES, 3).
        shadow: buildings across the street shade the points with x·s[0] + y·s[1] < s[2]; None for no such shadow.
    """

    kind: str
    direction: Vector
    sun: Floats
    sky: Floats
    zenith: Floats
    horizon: Floats
    panes: Floats
    shadow: tuple[float, float, float] | None

    @property
    def night(self) -> bool:
        """Whether it is night."""
        return self.kind == "night"

    def through_haze(self, haze: float) -> "Light":
        """The light after haze has replaced the share `haze`, in [0, 1], of it by the colour of the horizon."""
        panes = self.panes * (1 - haze)
        panes[0] = self.panes[0] + np.clip(self.horizon, 0, 255) * haze
        return replace(self, sun=self.sun * (1 - haze), sky=self.sky * (1 - haze), panes=panes)

    @property
    def average(self) -> Floats:
        """Mean factor of albedo, for objects without a surface normal, of shape (3,)."""
        return self.sky + 0.45 * self.sun


_KINDS = {  # kind → sun, sky, zenith, horizon
    "sun": ((0.46, 0.43, 0.37), (0.60, 0.62, 0.66), (96, 142, 202), (192, 212, 230)),
    "golden": ((0.56, 0.43, 0.28), (0.52, 0.50, 0.50), (116, 134, 174), (238, 200, 152)),
    "overcast": ((0.10, 0.10, 0.10), (0.78, 0.79, 0.80), (176, 182, 190), (214, 216, 218)),
    "dusk": ((0.14, 0.11, 0.12), (0.46, 0.47, 0.60), (56, 68, 116), (206, 150, 132)),
    "night": ((0.46, 0.39, 0.26), (0.20, 0.21, 0.29), (10, 12, 26), (36, 36, 54)),
}
_SHADED = 0.45  # share of the direct light in a shadow


def sample_light(favourable: bool, rng: np.random.Generator) -> Light:
    """Sample the light of a view; `favourable` excludes dusk and night."""
    probabilities = [0.5, 0.12, 0.38, 0.0, 0.0] if favourable else [0.36, 0.12, 0.26, 0.12, 0.14]
    kind = str(rng.choice(list(_KINDS), p=probabilities))
    sun, sky, zenith, horizon = (np.array(colour, np.float32) for colour in _KINDS[kind])
    strength = float(rng.uniform(0.8, 1.15))
    if kind == "night":
        strength = float(rng.uniform(0.5, 1.3))
    low, high = {"golden": (8, 22), "night": (-60, -35)}.get(kind, (25, 62))
    elevation, azimuth = np.deg2rad(rng.uniform(low, high)), np.deg2rad(rng.uniform(-75, 75))
    direction = np.array([np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])
    return Light(
        kind=kind,
        direction=direction,
        sun=sun * strength,
        sky=sky * float(rng.uniform(0.85, 1.15)),
        zenith=zenith * float(rng.uniform(0.85, 1.1)),
        horizon=horizon * float(rng.uniform(0.9, 1.05)),
        panes=_sample_panes(kind, zenith, rng),
        shadow=_sample_shadow(kind, rng),
    )


def _sample_panes(kind: str, zenith: Floats, rng: np.random.Generator) -> Floats:
    """Light of each pane: lit rooms at dusk and night, the reflected sky by day."""
    panes = np.zeros((PANES, 3), np.float32)
    if kind in ("night", "dusk"):
        lit = rng.random(PANES) < rng.uniform(0.1, 0.7)
        panes[lit] = np.array([190, 150, 80], np.float32) * rng.uniform(0.6, 1.1, (int(lit.sum()), 1))
    else:
        panes[:] = zenith * rng.uniform(0.0, 0.45, (PANES, 1)) * rng.uniform(0.2, 1.0)
    panes[0] = 0
    return panes


def _sample_shadow(kind: str, rng: np.random.Generator) -> tuple[float, float, float] | None:
    if kind not in ("sun", "golden") or rng.random() > 0.4:
        return None
    angle = rng.uniform(-0.5, 0.5) + rng.choice([0.0, np.pi / 2, np.pi])
    return float(np.cos(angle)), float(np.sin(angle)), float(rng.uniform(-2.0, 6.0))


def illuminate(layer: Layer, plane: Plane, light: Light) -> Bytes:
    """Shade a layer of a plane: RGB and coverage, of shape (H, W, 4).

    Direct light follows Lambert's law on the slopes of the relief, with cast shadows from a few samples towards the
    sun; ambient light is weaker in recesses.
    """
    lit = np.empty((*layer.alpha.shape, 4), np.uint8)
    lit[..., 3] = layer.alpha
    direct = _direct(layer, plane, light)
    for channel in range(3):
        factor = layer.openness * light.sky[channel]
        if direct is not None:
            factor += direct * light.sun[channel]
        factor *= layer.colour[..., channel]
        factor += light.panes[0, channel]
        np.minimum(factor, 255, out=factor)
        lit[..., channel] = factor
    where, panes = layer.glass
    glass = lit[where].astype(np.float32)
    glass[:, :3] += light.panes[panes]
    lit[where] = np.minimum(glass, 255)
    return lit


def _direct(layer: Layer, plane: Plane, light: Light) -> Floats | None:
    """The factor of the direct light at each pixel, of shape (H, W); None if the plane faces away from it."""
    across, up, out = (float(light.direction @ axis) for axis in (plane.across, plane.up, plane.normal))
    if out <= 0.02:
        return None
    right, rise = layer.slopes
    direct = out - across * right - up * rise
    np.clip(direct, 0.0, 1.3, out=direct)
    direct[_in_shadow(layer.relief, layer.scale, across, up, out)] *= _SHADED
    if light.shadow is not None:
        direct *= _street_shadow(layer, plane, light.shadow)
    return direct


def _in_shadow(relief: Floats, scale: float, across: float, up: float, out: float) -> npt.NDArray[np.bool_]:
    """Whether relief towards the sun is higher than the ray from each pixel, of the shape of `relief`."""
    rows, columns = relief.shape
    blocked = np.zeros(relief.shape, bool)
    steep = out / max(float(np.hypot(across, up)), 1e-6)
    unit = np.array([across, up]) / max(float(np.hypot(across, up)), 1e-6)
    for reach in _SHADOW_REACHES:
        dx, dy = round(float(unit[0]) * reach * scale), -round(float(unit[1]) * reach * scale)
        if (dx, dy) == (0, 0) or abs(dx) >= columns or abs(dy) >= rows:
            continue
        here = (slice(max(0, -dy), rows - max(0, dy)), slice(max(0, -dx), columns - max(0, dx)))
        there = (slice(max(0, dy), rows - max(0, -dy)), slice(max(0, dx), columns - max(0, -dx)))
        blocked[here] |= relief[there] - relief[here] > reach * steep
    return blocked


def _street_shadow(layer: Layer, plane: Plane, shadow: tuple[float, float, float]) -> Floats:
    rows, columns = layer.alpha.shape
    a, b = np.arange(columns) / layer.scale, (rows - np.arange(rows)) / layer.scale
    normal = np.array([shadow[0], shadow[1], 0.0])
    side = (plane.origin @ normal - shadow[2]) + (plane.across @ normal) * a[None] + (plane.up @ normal) * b[:, None]
    lit: Floats = np.clip(side * 1.5 + 0.5, _SHADED, 1.0).astype(np.float32)
    return lit
