"""The camera of a view and its projections: homographies of planes, pixels of points."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lrcr.datasets.synthetic.landmark import Landmark, Plane, Vector

Matrix = npt.NDArray[np.float64]

_MAX_YAW = np.deg2rad(52)
_FAVOURABLE_YAW = np.deg2rad(24)


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Args:
        position: of shape (3,), metres.
        rotation: rows are its right, down and forward axes, of shape (3, 3).
        focal: focal length in pixels.
        centre: principal point in pixels; outside the middle of the frame if the view is a crop of a wider one.
        size: width and height of the frame in pixels.
        yaw: azimuth of the position, seen from the landmark, in radians.
    """

    position: Vector
    rotation: Matrix
    focal: float
    centre: tuple[float, float]
    size: tuple[int, int]
    yaw: float

    @property
    def intrinsics(self) -> Matrix:
        """The calibration matrix, of shape (3, 3)."""
        return np.array([[self.focal, 0, self.centre[0]], [0, self.focal, self.centre[1]], [0, 0, 1]])

    def homography(self, plane: Plane) -> Matrix:
        """Maps (a, b, 1), metres along the plane's axes, to homogeneous pixels (x, y, depth); of shape (3, 3)."""
        axes = np.column_stack([plane.across, plane.up, plane.origin - self.position])
        return self.intrinsics @ self.rotation @ axes

    def project(self, points: Matrix) -> tuple[Matrix, Vector]:
        """Pixels, of shape (N, 2), and depths, of shape (N,), of points of shape (N, 3)."""
        seen = (points - self.position) @ self.rotation.T
        depth = seen[:, 2]
        return self.focal * seen[:, :2] / depth[:, None] + np.array(self.centre), depth

    @property
    def horizon(self) -> float:
        """Row of the horizon at the middle of the frame."""
        ahead = self.rotation[2] * np.array([1.0, 0.0, 1.0])
        seen = self.rotation @ (ahead / np.linalg.norm(ahead))
        return float(self.focal * seen[1] / seen[2] + self.centre[1])


def look_at(position: Vector, target: Vector, roll: float) -> Matrix:
    """The rotation of a camera at `position` that looks at `target`, rolled by `roll` radians."""
    forward = (target - position) / np.linalg.norm(target - position)
    right = np.cross(forward, np.array([0.0, 1.0, 0.0]))
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    cos, sin = np.cos(roll), np.sin(roll)
    return np.array([cos * right + sin * down, cos * down - sin * right, forward])


def sample_camera(landmark: Landmark, size: tuple[int, int], favourable: bool, rng: np.random.Generator) -> Camera:
    """Sample a viewpoint.

    Args:
        size: width and height of the frame in pixels.
        favourable: near the front, with the whole building in the frame; otherwise up to 52° from the front, with the
            whole building or a part of it in the frame.
    """
    yaw = float(rng.uniform(-_FAVOURABLE_YAW, _FAVOURABLE_YAW) if favourable else rng.uniform(-_MAX_YAW, _MAX_YAW))
    middle = (landmark.low + landmark.high) / 2
    distance = landmark.extent * float(rng.uniform(1.1, 2.6)) + 6.0
    height = 1.7 if rng.random() < 0.65 else float(rng.uniform(2.0, 0.6 * landmark.high[1] + 3.0))
    position = np.array([middle[0] + distance * np.sin(yaw), height, landmark.high[2] + distance * np.cos(yaw)])
    roll = float(rng.normal(0, np.deg2rad(1.5 if favourable else 4.0)))
    rotation = look_at(position, middle, roll)
    coverage = _sample_coverage(favourable, rng)
    return _fit_to_frame(landmark, position, rotation, coverage, size, yaw, rng)


def _sample_coverage(favourable: bool, rng: np.random.Generator) -> float:
    """Size of the building relative to the frame; above 1 only a part of it is in the frame."""
    if favourable:
        return float(rng.uniform(0.62, 1.0))
    kind = rng.random()
    if kind < 0.42:
        return float(rng.uniform(0.5, 1.05))
    if kind < 0.58:
        return float(rng.uniform(0.16, 0.5))
    return float(rng.uniform(1.05, 4.0))


def _fit_to_frame(
    landmark: Landmark,
    position: Vector,
    rotation: Matrix,
    coverage: float,
    size: tuple[int, int],
    yaw: float,
    rng: np.random.Generator,
) -> Camera:
    """Choose focal length and principal point so that the building's box spans `coverage` of the frame."""
    corners = np.array(
        [[x, y, landmark.high[2]] for x in (landmark.low[0], landmark.high[0]) for y in (0.0, landmark.high[1])]
    )
    seen = (corners - position) @ rotation.T
    flat = seen[:, :2] / seen[:, 2:]
    low, high = flat.min(axis=0), flat.max(axis=0)
    focal = coverage * float(np.min(np.array(size) / (high - low)))
    slack = np.array(size) - focal * (high - low)
    place = rng.uniform([0.05, 0.3], [0.95, 0.97])
    centre = slack * place - focal * low
    return Camera(position, rotation, focal, (float(centre[0]), float(centre[1])), size, yaw)
