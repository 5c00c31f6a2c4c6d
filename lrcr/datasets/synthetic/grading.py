"""What one view shows of a landmark, and how hard it is to find one view with another: from the true geometry."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lrcr.datasets.synthetic.camera import Camera, Matrix
from lrcr.datasets.synthetic.canvas import Bytes
from lrcr.datasets.synthetic.frame import local_scale
from lrcr.datasets.synthetic.landmark import Landmark, Vector

_GRID = 26  # points along the landmark's larger side
MIN_EXTENT = 45.0  # pixels of the image that the whole landmark would span at a point's scale, to count as seen
EASY_OVERLAP, EASY_ANGLE, EASY_RATIO, EASY_CLARITY = 0.6, 28.0, 2.0, 0.5
HARD_OVERLAP, HARD_RATIO, HARD_CLARITY = 0.25, 3.8, 0.24


@dataclass(frozen=True)
class Sight:
    """What one view shows.

    Args:
        visible: whether each surface point is seen, of shape (P,).
        scale: pixels a metre at each point, of shape (P,).
        direction: unit vector from the landmark towards the camera, of shape (3,).
        clarity: how much detail weather and camera leave, in [0, 1].
        night: whether the lamps are lit.
    """

    visible: npt.NDArray[np.bool_]
    scale: npt.NDArray[np.float32]
    direction: Vector
    clarity: float
    night: bool


def surface_points(landmark: Landmark) -> list[Matrix]:
    """A grid of points on each plane, metres along its axes, of shape (P, 2), where the plane is solid."""
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


def look(
    landmark: Landmark, points: list[Matrix], camera: Camera, owner: Bytes, oversampling: float
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float32]]:
    """Which points a view shows, and at how many pixels (of the finished image) a metre; both of shape (P,).

    A point is seen where it projects into the frame onto a pixel that belongs to its own plane (`owner` holds the
    plane's number + 1), so that neither occluders nor nearer planes hide it, and where its scale is large enough.
    """
    seen, scales = [], []
    width, height = camera.size
    for number, (plane, places) in enumerate(zip(landmark.planes, points, strict=True)):
        homography = camera.homography(plane.turned(camera.yaw))
        x, y, depth = homography @ np.column_stack([places, np.ones(len(places))]).T
        safe = np.maximum(depth, 1e-3)
        column, row = np.clip(x / safe, -1, width).astype(int), np.clip(y / safe, -1, height).astype(int)
        inside = (depth > 1e-3) & (x > 0) & (y > 0) & (column < width) & (row < height)
        own = owner[np.where(inside, row, 0), np.where(inside, column, 0)] == number + 1
        scale = local_scale(homography, places) / oversampling
        seen.append(inside & own & (scale * landmark.extent >= MIN_EXTENT))
        scales.append(scale)
    return np.concatenate(seen), np.concatenate(scales).astype(np.float32)


def overlap(query: Sight, other: Sight) -> float:
    """Share of the points that the query shows which the other view shows too."""
    return float((query.visible & other.visible).sum() / max(1, query.visible.sum()))


def scale_ratio(query: Sight, other: Sight) -> float:
    """By how much the common surface is larger in one view than in the other: the median, at least 1."""
    common = query.visible & other.visible
    if not common.any():
        return float("inf")
    logs = np.log(query.scale[common] / other.scale[common])
    return float(np.exp(abs(np.median(logs))))


def angle(query: Sight, other: Sight) -> float:
    """Degrees between the directions from which the two views were taken."""
    return float(np.rad2deg(np.arccos(np.clip(query.direction @ other.direction, -1, 1))))


def grade(query: Sight, other: Sight) -> str:
    """Grade a view of the query's own landmark.

    - junk: less than HARD_OVERLAP of the surface that the query shows is in the view, or the common surface is more
      than HARD_RATIO times larger or smaller there, or one of the two is less than HARD_CLARITY clear;
    - easy: at least EASY_OVERLAP is in the view, from within EASY_ANGLE degrees of the query's side, at most EASY_RATIO
      times larger or smaller, both views at least EASY_CLARITY clear, and both by day or both by night;
    - hard: everything between.
    """
    share, ratio, clarity = overlap(query, other), scale_ratio(query, other), min(query.clarity, other.clarity)
    if share < HARD_OVERLAP or ratio > HARD_RATIO or clarity < HARD_CLARITY:
        return "junk"
    alike = angle(query, other) <= EASY_ANGLE and ratio <= EASY_RATIO and query.night == other.night
    return "easy" if share >= EASY_OVERLAP and alike and clarity >= EASY_CLARITY else "hard"
