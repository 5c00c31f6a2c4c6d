"""Shading of a plane with relief, compared with the formula at single pixels."""

from dataclasses import replace

import numpy as np

from lrcr.datasets.synthetic.canvas import Canvas
from lrcr.datasets.synthetic.landmark import Plane
from lrcr.datasets.synthetic.light import illuminate, sample_light

from .scenes import X, Y

ALBEDO, SHADED = 200, 0.45


def test_a_raised_block_casts_its_shadow_away_from_the_sun():
    canvas = Canvas(0.0, 0.0, 8.0, 8.0, 20.0, (ALBEDO,) * 3)
    canvas.rectangle(0.0, 0.0, 8.0, 8.0, (ALBEDO,) * 3)
    canvas.rectangle(3.5, 2.0, 1.0, 4.0, (ALBEDO,) * 3, relief=1.0)
    plane = Plane(canvas.texture(), np.zeros(3), X, Y)
    to_sun = np.array([1.0, 0.0, 1.0]) / np.sqrt(2)
    light = sample_light(True, np.random.default_rng(0))
    light = replace(light, direction=to_sun, shadow=None, sun=np.full(3, 0.5, np.float32))
    layer = plane.texture.at(1000)
    row = illuminate(layer, plane, light)[80, :, 0].astype(int)

    def expected(x: float, direct: float) -> float:
        """The level of a flat pixel at `x` metres."""
        return ALBEDO * (layer.openness[80, int(x * 20)] * light.sky[0] + direct * light.sun[0]) + light.panes[0, 0]

    facing = to_sun[2]
    for x, direct in [(1.0, facing), (7.0, facing), (4.9, facing), (3.1, SHADED * facing)]:
        assert row[int(x * 20)] == int(expected(x, direct)), x
    from_behind = illuminate(layer, replace(plane, across=-X), light)[80, 20, 0]
    assert from_behind == int(expected(1.0, 0.0))
