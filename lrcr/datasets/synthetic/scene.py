"""The surroundings of a landmark, which do not depend on its identity: sky, ground, neighbours, trees, occluders."""

from dataclasses import replace
from functools import cache

import numpy as np
from PIL import Image

from lrcr.datasets.synthetic.camera import Camera
from lrcr.datasets.synthetic.canvas import Floats, Layer, Texture
from lrcr.datasets.synthetic.frame import Frame
from lrcr.datasets.synthetic.landmark import Landmark, Plane, Vector, build_landmark
from lrcr.datasets.synthetic.light import Light
from lrcr.datasets.synthetic.sprites import HEIGHTS, sample_sprite
from lrcr.runtime.seeds import derive_seed

_NEIGHBOURS = 14  # buildings in the pool that the views of a split share
_NEIGHBOUR_DETAIL = 260  # pixels along the larger side of a building
_SKY_STEP = 3  # pixels of the frame per pixel of the sky, which is smooth
_GROUND_METRES, _GROUND_PIXELS = 150.0, 512
_GROUNDS = {
    "paving": (168, 160, 148),
    "cobbles": (124, 118, 112),
    "grass": (104, 124, 70),
    "asphalt": (96, 96, 98),
    "sand": (186, 168, 132),
}


def draw_sky(camera: Camera, light: Light, cloudy: float, rng: np.random.Generator) -> Image.Image:
    """Draw a sky with clouds above the horizon and haze below it, of the camera's size; `cloudy` in [0, 1]."""
    width, height = camera.size[0] // _SKY_STEP, camera.size[1] // _SKY_STEP
    rows = np.arange(height, dtype=np.float32) * _SKY_STEP
    t = np.clip((camera.horizon - rows) / camera.size[1], 0, 1)[:, None, None] ** 0.7
    sky = light.horizon * (1 - t) + light.zenith * t
    cloud = _crop_noise(width, height, rng)[..., None]
    cover = np.clip((cloud - 1 + cloudy) * 2.5, 0, 1) * np.clip(t * 4, 0, 1)
    bright = np.minimum(light.horizon * 1.15 + 12, 255)
    coarse = Image.fromarray(np.clip(sky * (1 - cover) + bright * cover, 0, 255).astype(np.uint8))
    return coarse.resize(camera.size, Image.Resampling.BILINEAR)


def _crop_noise(width: int, height: int, rng: np.random.Generator) -> Floats:
    noise = _noise(int(rng.integers(4)))
    wide = int(rng.integers(96, 200))
    tall = max(24, wide * height // width // 2)
    left, top = int(rng.integers(256 - wide)), int(rng.integers(256 - tall))
    crop = noise.resize((width, height), Image.Resampling.BILINEAR, box=(left, top, left + wide, top + tall))
    return np.asarray(crop, np.float32) / np.float32(255)


@cache
def _noise(index: int) -> Image.Image:
    """Fractal noise of 256 × 256 pixels: a sum of octaves of random grids."""
    rng = np.random.default_rng(index)
    total = np.zeros((256, 256))
    for octave in range(2, 8):
        grid = Image.fromarray(rng.integers(0, 256, (2**octave, 2**octave), dtype=np.uint8))
        total += np.asarray(grid.resize((256, 256), Image.Resampling.BICUBIC), float) / 2**octave
    total = (total - total.min()) / (total.max() - total.min())
    return Image.fromarray((total * 255).astype(np.uint8))


@cache
def _ground(kind: str) -> Texture:
    rng, size = np.random.default_rng(len(kind)), _GROUND_PIXELS
    grain = np.asarray(_noise(4).resize((size, size)), float) / 255 - 0.5
    shade = 1 + 0.3 * grain + {"grass": 0.12, "cobbles": 0.14}.get(kind, 0.05) * rng.normal(0, 1, (size, size))
    line = np.arange(size)
    if kind in ("paving", "cobbles"):
        period = 14 if kind == "paving" else 6
        shade[line % period == 0] *= 0.78
        shade[:, line % period == 0] *= 0.78
    if kind == "asphalt":
        shade[:, (line % 128 < 3)] *= 1.7
    colour = np.clip(np.array(_GROUNDS[kind]) * shade[..., None], 0, 255).astype(np.uint8)
    flat = np.zeros((size, size))
    return Texture(
        Layer(
            size / _GROUND_METRES,
            colour,
            np.full((size, size), 255, np.uint8),
            flat.astype(np.float32),
            flat.astype(np.uint8),
        )
    )


def draw_ground(frame: Frame, snow: bool, rng: np.random.Generator) -> None:
    """Draw the ground, from behind the camera to far behind the landmark."""
    kind = "sand" if snow else str(rng.choice(list(_GROUNDS)))
    position, side = frame.camera.position, np.eye(3)
    origin = np.array([position[0] - _GROUND_METRES / 2 + float(rng.uniform(-9, 9)), 0.0, position[2] + 5.0])
    frame.paste_plane(Plane(_ground(kind), origin, side[0], -side[2]))


@cache
def _neighbour(seed: int, index: int) -> Landmark:
    return build_landmark(derive_seed(seed, "clutter", index), _NEIGHBOUR_DETAIL)


def draw_neighbours(frame: Frame, landmark: Landmark, seed: int, rng: np.random.Generator) -> None:
    """Draw buildings beside and behind the landmark, from the pool that `seed` determines for the whole split."""
    for side in (-1, 1):
        if rng.random() < 0.25:
            continue
        building = _neighbour(seed, int(rng.integers(_NEIGHBOURS)))
        gap, setback = float(rng.uniform(0.3, 5.0)), float(rng.uniform(-6.0, 1.0))
        edge, facing = (landmark.high, building.low) if side > 0 else (landmark.low, building.high)
        _paste_building(
            frame,
            building,
            np.array([edge[0] - facing[0] + side * gap, 0.0, landmark.high[2] - building.high[2] + setback]),
        )
    if rng.random() < 0.5:
        building = _neighbour(seed, int(rng.integers(_NEIGHBOURS)))
        x = float(rng.uniform(landmark.low[0] * 1.6, landmark.high[0] * 1.6))
        _paste_building(frame, building, np.array([x, 0.0, landmark.low[2] - float(rng.uniform(25, 60))]))


def _paste_building(frame: Frame, building: Landmark, offset: Vector) -> None:
    moved = [replace(plane, origin=plane.origin + offset) for plane in building.planes]
    for plane in sorted(moved, key=lambda plane: -float(np.linalg.norm(plane.middle - frame.camera.position))):
        frame.paste_plane(plane)


def draw_trees(frame: Frame, landmark: Landmark, rng: np.random.Generator) -> None:
    """Draw trees beside and behind the landmark."""
    for _ in range(int(rng.integers(0, 5))):
        side = float(rng.choice([-1, 1]))
        x = (landmark.high[0] if side > 0 else landmark.low[0]) + side * float(rng.uniform(1, 16))
        foot = np.array([x, 0.0, landmark.high[2] + float(rng.uniform(-14, 3))])
        frame.paste_sprite(sample_sprite("tree", rng), foot, HEIGHTS["tree"] * float(rng.uniform(0.7, 1.5)))


def draw_occluders(frame: Frame, landmark: Landmark, mean_count: float, rng: np.random.Generator) -> None:
    """Draw people, vehicles, trees and street furniture between camera and landmark; Poisson(`mean_count`) of them."""
    count = int(rng.poisson(mean_count))
    towards = frame.camera.position - np.array([0.0, frame.camera.position[1], landmark.high[2] + 3.0])
    placed = []
    for kind in rng.choice(
        ["person", "car", "tree", "lamp", "sign", "bus", "kiosk"], count, p=[0.46, 0.16, 0.1, 0.12, 0.06, 0.05, 0.05]
    ):
        near = float(rng.uniform(0.02, 0.8 if kind in ("person", "sign", "lamp") else 0.55))
        aside = float(rng.uniform(-0.6, 0.6)) * landmark.extent * (1 - 0.6 * near)
        across = np.array([towards[2], 0.0, -towards[0]]) / np.hypot(towards[0], towards[2])
        foot = np.array([0.0, 0.0, landmark.high[2] + 3.0]) + towards * near + across * aside
        placed.append((near, str(kind), foot))
    for _, kind, foot in sorted(placed, key=lambda item: item[0]):
        frame.paste_sprite(sample_sprite(kind, rng), foot, HEIGHTS[kind] * float(rng.uniform(0.88, 1.12)))
