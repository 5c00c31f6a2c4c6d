"""Small scenes of blank planes, and cameras that look at them."""

import numpy as np
from PIL import Image

from lrcr.datasets.synthetic.camera import Camera, look_at
from lrcr.datasets.synthetic.canvas import Canvas
from lrcr.datasets.synthetic.frame import Frame
from lrcr.datasets.synthetic.grading import Visibility, measure_visibility, surface_points
from lrcr.datasets.synthetic.landmark import Landmark, Plane
from lrcr.datasets.synthetic.light import sample_light

SIZE = (240, 180)
X, Y, Z = np.eye(3)


def board(left, bottom, width, height, z):
    """A blank plane that faces the street."""
    canvas = Canvas(0.0, 0.0, width, height, 10.0, (180, 180, 180))
    canvas.rectangle(0.0, 0.0, width, height, (180, 180, 180))
    return Plane(canvas.texture(), np.array([left, bottom, z]), X, Y)


def camera_at(position, target, focal=200.0, centre=(120.0, 90.0)):
    position, target = np.array(position, float), np.array(target, float)
    yaw = float(np.arctan2(position[0], position[2]))
    return Camera(position, look_at(position, target, 0.0), focal, centre, SIZE, yaw)


def empty_frame(camera):
    return Frame(camera, sample_light(True, np.random.default_rng(0)), 0.0, 20.0, Image.new("RGB", SIZE))


def measure(planes, camera):
    """Visibility and scale of the surface points of some planes, of shape (P,), and the points, of shape (P, 3)."""
    landmark = Landmark(tuple(planes), np.array([-5.0, 0, 0]), np.array([5.0, 10, 0]))
    points = surface_points(landmark)
    frame = empty_frame(camera)
    for number, plane in enumerate(planes):
        frame.paste_plane(plane, number + 1)
    visible, scale = measure_visibility(landmark, points, camera, frame.owner, 1.0)
    space = [p.origin + a[:, :1] * p.across + a[:, 1:] * p.up for p, a in zip(planes, points, strict=True)]
    return visible, scale, np.concatenate(space)


def view(visible, scale=20.0, degrees=0.0, clarity=0.9, night=False):
    direction = np.array([np.sin(np.deg2rad(degrees)), 0.0, np.cos(np.deg2rad(degrees))])
    visible = np.asarray(visible, bool)
    return Visibility(visible, np.full(visible.shape, scale, np.float32), direction, clarity, night)
