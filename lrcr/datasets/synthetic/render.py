"""Rendering of one view of a building: image, mask of the landmark and visible surface."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from lrcr.datasets.synthetic.camera import Matrix, sample_camera
from lrcr.datasets.synthetic.frame import Frame
from lrcr.datasets.synthetic.grading import Visibility, measure_visibility
from lrcr.datasets.synthetic.landmark import Landmark
from lrcr.datasets.synthetic.light import sample_light
from lrcr.datasets.synthetic.scene import draw_ground, draw_neighbours, draw_occluders, draw_sky, draw_trees
from lrcr.datasets.synthetic.weather import apply_weather, sample_weather

SHAPES = ((320, 240), (240, 320), (320, 240), (288, 216), (216, 288), (256, 256), (320, 214), (256, 192), (192, 256))
_OVERSAMPLING = 1.4


@dataclass(frozen=True)
class View:
    """A rendered view.

    Args:
        image: RGB.
        quality: of the JPEG file to store it in.
        mask: the visible pixels of the landmark, mode "1", of the size of `image`.
        visibility: the surface of the landmark that it shows.
    """

    image: Image.Image
    quality: int
    mask: Image.Image
    visibility: Visibility


def render_view(landmark: Landmark, points: list[Matrix], neighbourhood: int, favourable: bool, seed: int) -> View:
    """Render a view of a building.

    Args:
        points: of its surface (`grading.surface_points`).
        neighbourhood: seed of the neighbouring buildings.
        favourable: whether to take a frontal view in good conditions.
        seed: determines everything else.
    """
    rng = np.random.default_rng(seed)
    size = SHAPES[int(rng.integers(len(SHAPES)))]
    large = (round(size[0] * _OVERSAMPLING), round(size[1] * _OVERSAMPLING))
    camera = sample_camera(landmark, large, favourable, rng)
    light = sample_light(favourable, rng)
    weather = sample_weather(light, favourable, rng)
    middle = (landmark.low + landmark.high) / 2
    towards = camera.position - middle
    distance = float(np.linalg.norm(towards))
    frame = Frame(camera, light, weather.fog, distance, draw_sky(camera, light, weather.clouds, rng))
    draw_ground(frame, weather.snow > 0, rng)
    draw_neighbours(frame, landmark, neighbourhood, rng)
    draw_trees(frame, landmark, rng)
    order = np.argsort(
        [-float(np.linalg.norm(plane.middle - camera.position)) for plane in landmark.planes], kind="stable"
    )
    for number in order:
        frame.paste_plane(landmark.planes[number], owner=int(number) + 1)
    draw_occluders(frame, landmark, 1.2 if favourable else 3.0, rng)
    visible, scale = measure_visibility(landmark, points, camera, frame.owner, _OVERSAMPLING)
    visibility = Visibility(visible, scale, towards / distance, weather.clarity, light.night)
    image = apply_weather(frame.image, size, weather, light, rng)
    return View(image, weather.quality, _mask(frame, size), visibility)


def _mask(frame: Frame, size: tuple[int, int]) -> Image.Image:
    large = Image.fromarray((frame.owner > 0).astype(np.uint8) * 255)
    return large.resize(size, Image.Resampling.BOX).convert("1", dither=Image.Dither.NONE)
