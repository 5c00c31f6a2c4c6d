"""The surface of a landmark that a view shows, and the relevance grade of one view for another, from true geometry."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lrcr.datasets.synthetic.camera import Camera, Matrix
from lrcr.datasets.synthetic.canvas import Bytes
from lrcr.datasets.synthetic.frame import local_scale
from lrcr.datasets.synthetic.landmark import Landmark, Vector

_GRID = 26  # points along the landmark's larger side
MIN_EXTENT = 45.0  # pixels that the whole landmark must span at the scale of a point for the point to be visible
EASY_OVERLAP, EASY_ANGLE, EASY_RATIO, EASY_CLARITY = 0.6, 28.0, 2.0, 0.5
HARD_OVERLAP, HARD_RATIO, HARD_CLARITY = 0.25, 3.8, 0.24


@dataclass(frozen=True)
class Visibility:
    """The surface that one view shows, and the conditions of the view.

    Args:
        visible: whether each surface point is visible, of shape (P,).
        scale: pixels per metre at each point, of shape (P,).
        direction: unit vector from the landmark towards the camera, of shape (3,).
        clarity: share of image detail that remains after weather and camera effects, in [0, 1].
        night: whether the view is taken at night.
    """

    visible: npt.NDArray[np.bool_]
    scale: npt.NDArray[np.float32]
    direction: Vector
    clarity: float
    night: bool


def surface_points(landmark: Landmark) -> list[Matrix]:
    """A grid of points on the opaque part of each plane: metres along its axes, of shape (P, 2)."""
    step, points = landmark.extent / _GRID, []
    for plane in landmark.planes:
        a, b = np.meshgrid(
            np.arange(step / 2, plane.texture.width, step), np.arange(step / 2, plane.texture.height, step)
        )
        layer = plane.texture.at(0.0)
        rows, columns = layer.alpha.shape
        row = np.clip(rows - 1 - (b * layer.scale).astype(int), 0, rows - 1)
        column = np.clip((a * layer.scale).astype(int), 0, columns - 1)
        solid = layer.alpha[row, column] > 127
        points.append(np.column_stack([a[solid], b[solid]]))
    return points


def measure_visibility(
    landmark: Landmark, points: list[Matrix], camera: Camera, owner: Bytes, oversampling: float
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """Whether a view shows each point, and pixels of the finished image per metre at each point; both of shape (P,).

    A point is visible if it projects onto a pixel of the frame that shows its own plane, so that no occluder and no
    nearer plane hides it, and if its scale is large enough (MIN_EXTENT).

    Args:
        points: of each plane of the landmark (`surface_points`).
        owner: number + 1 of the plane that each pixel of the frame shows, of shape (H, W).
        oversampling: width of the frame divided by that of the finished image.
    """
    visible, scales = [], []
    width, height = camera.size
    for number, (plane, plane_points) in enumerate(zip(landmark.planes, points, strict=True)):
        homography = camera.homography(plane.turned(camera.yaw))
        x, y, depth = homography @ np.column_stack([plane_points, np.ones(len(plane_points))]).T
        positive = np.maximum(depth, 1e-3)
        column, row = np.clip(x / positive, -1, width).astype(int), np.clip(y / positive, -1, height).astype(int)
        inside = (depth > 1e-3) & (x > 0) & (y > 0) & (column < width) & (row < height)
        unoccluded = owner[np.where(inside, row, 0), np.where(inside, column, 0)] == number + 1
        scale = local_scale(homography, plane_points) / oversampling
        visible.append(inside & unoccluded & (scale * landmark.extent >= MIN_EXTENT))
        scales.append(scale)
    return np.concatenate(visible), np.concatenate(scales).astype(np.float32)


def overlap(query: Visibility, other: Visibility) -> float:
    """Share of the points visible in the query that are visible in the other view too."""
    return float((query.visible & other.visible).sum() / max(1, query.visible.sum()))


def scale_ratio(query: Visibility, other: Visibility) -> float:
    """Ratio of the scales of the common surface: the median, larger over smaller; infinite without common points."""
    common = query.visible & other.visible
    if not common.any():
        return float("inf")
    logs = np.log(query.scale[common] / other.scale[common])
    return float(np.exp(abs(np.median(logs))))


def angle(query: Visibility, other: Visibility) -> float:
    """Angle between the viewing directions of two views, in degrees."""
    return float(np.rad2deg(np.arccos(np.clip(query.direction @ other.direction, -1, 1))))


def grade(query: Visibility, other: Visibility) -> str:
    """Grade another view of the query's landmark.

    - junk: `overlap` is below HARD_OVERLAP, `scale_ratio` above HARD_RATIO, or the clarity of one of the two views
      below HARD_CLARITY;
    - easy: `overlap` is at least EASY_OVERLAP, `angle` at most EASY_ANGLE degrees, `scale_ratio` at most EASY_RATIO,
      the clarity of both views at least EASY_CLARITY, and both are taken by day or both at night;
    - hard: otherwise.
    """
    share, ratio, clarity = overlap(query, other), scale_ratio(query, other), min(query.clarity, other.clarity)
    if share < HARD_OVERLAP or ratio > HARD_RATIO or clarity < HARD_CLARITY:
        return "junk"
    similar = angle(query, other) <= EASY_ANGLE and ratio <= EASY_RATIO and query.night == other.night
    return "easy" if share >= EASY_OVERLAP and similar and clarity >= EASY_CLARITY else "hard"
