"""One view of one building: viewpoint, conditions, picture, mask and what it shows."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from lrcr.datasets.synthetic.camera import Matrix, sample_camera
from lrcr.datasets.synthetic.frame import Frame
from lrcr.datasets.synthetic.grading import Sight, look
from lrcr.datasets.synthetic.landmark import Landmark
from lrcr.datasets.synthetic.light import sample_light
from lrcr.datasets.synthetic.scene import draw_ground, draw_neighbours, draw_passers, draw_sky, draw_trees
from lrcr.datasets.synthetic.weather import develop, sample_weather

SHAPES = ((320, 240), (240, 320), (320, 240), (288, 216), (216, 288), (256, 256), (320, 214), (256, 192), (192, 256))
_OVERSAMPLING = 1.4


@dataclass(frozen=True)
class View:
    """A finished photograph.

    Args:
        image: the picture (RGB).
        quality: with which it is to be stored as JPEG.
        mask: the landmark's visible pixels, mode "1", of the picture's size.
        sight: what of the landmark's surface it shows.
    """

    image: Image.Image
    quality: int
    mask: Image.Image
    sight: Sight


def render_view(landmark: Landmark, points: list[Matrix], clutter: int, safe: bool, seed: int) -> View:
    """Photograph a building.

    Args:
        points: of its surface (`grading.surface_points`).
        clutter: seed of the neighbourhood's buildings.
        safe: a frontal view in fair conditions.
        seed: decides everything else.
    """
    rng = np.random.default_rng(seed)
    size = SHAPES[int(rng.integers(len(SHAPES)))]
    large = (round(size[0] * _OVERSAMPLING), round(size[1] * _OVERSAMPLING))
    camera = sample_camera(landmark, large, safe, rng)
    light = sample_light(safe, rng)
    weather = sample_weather(light, safe, rng)
    middle = (landmark.low + landmark.high) / 2
    towards = camera.position - middle
    distance = float(np.linalg.norm(towards))
    frame = Frame(camera, light, weather.fog, distance, draw_sky(camera, light, weather.clouds, rng))
    draw_ground(frame, weather.snow > 0, rng)
    draw_neighbours(frame, landmark, clutter, rng)
    draw_trees(frame, landmark, rng)
    order = np.argsort(
        [-float(np.linalg.norm(plane.middle - camera.position)) for plane in landmark.planes], kind="stable"
    )
    for number in order:
        frame.paste_plane(landmark.planes[number], owner=int(number) + 1)
    draw_passers(frame, landmark, 1.2 if safe else 3.0, rng)
    visible, scale = look(landmark, points, camera, frame.owner, _OVERSAMPLING)
    sight = Sight(visible, scale, towards / distance, weather.clarity, light.night)
    return View(develop(frame.image, size, weather, light, rng), weather.quality, _mask(frame, size), sight)


def _mask(frame: Frame, size: tuple[int, int]) -> Image.Image:
    large = Image.fromarray((frame.owner > 0).astype(np.uint8) * 255)
    return large.resize(size, Image.Resampling.BOX).convert("1", dither=Image.Dither.NONE)
