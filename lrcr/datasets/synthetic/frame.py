"""The frame of a view: planes and sprites drawn with a depth test, and the plane that each pixel shows."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from lrcr.datasets.synthetic.camera import Camera, Matrix
from lrcr.datasets.synthetic.canvas import Bytes, Floats, Layer
from lrcr.datasets.synthetic.landmark import Plane, Vector
from lrcr.datasets.synthetic.light import Light, illuminate

_MIN_SIDE = 3  # pixels; planes and sprites with a shorter side are not drawn
_SHARPNESS = 0.7  # texture pixels per pixel of the frame, which is larger than the finished image
_NEAR = 0.3  # metres from the camera; what is nearer is not drawn


class Frame:
    """A frame of the camera's size, with the inverse depth and the owner of every pixel.

    Args:
        camera: the view.
        light: the light of the view.
        fog: share of the light from the distance `reach` (metres) that haze replaces.
        sky: the background, of the camera's size; changed in place.

    Attributes:
        owner: number given with the plane that a pixel shows, 0 for the surroundings; of shape (H, W).
    """

    def __init__(self, camera: Camera, light: Light, fog: float, reach: float, sky: Image.Image) -> None:
        self.camera, self.light, self.image = camera, light, sky
        self._fog, self._reach = fog, reach
        width, height = camera.size
        self._inverse_depth: Floats = np.zeros((height, width), np.float32)
        self.owner: Bytes = np.zeros((height, width), np.uint8)

    def paste_plane(self, plane: Plane, owner: int = 0) -> None:
        """Draw a plane where nothing nearer has been drawn; a plane seen from behind is not drawn."""
        plane = plane.turned(self.camera.yaw)
        if plane.normal @ (self.camera.position - plane.middle) <= 0:
            return
        homography = self.camera.homography(plane)
        box = self._box(homography, plane)
        if box is None:
            return
        scale = local_scale(homography, np.array([[plane.texture.width / 2, plane.texture.height / 2]]))[0]
        layer = plane.texture.at(float(scale) * _SHARPNESS)
        back = _to_texture(homography, layer)
        layer_image = self._lit(layer, plane)
        shift = np.array([[1, 0, box[0]], [0, 1, box[1]], [0, 0, 1]], float)
        warp = back @ shift
        size = (box[2] - box[0], box[3] - box[1])
        coefficients = tuple((warp / warp[2, 2]).ravel()[:8])
        drawn = layer_image.transform(size, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BILINEAR)
        x, y = np.arange(box[0], box[2]) + 0.5, np.arange(box[1], box[3]) + 0.5
        inverse_depth = (back[2, 0] * x[None] + back[2, 1] * y[:, None] + back[2, 2]).astype(np.float32)
        self._merge(drawn, inverse_depth, box, owner)

    def paste_sprite(self, sprite: Image.Image, foot: Vector, height: float) -> None:
        """Draw an upright sprite (RGBA) of `height` metres with its foot at `foot`, of shape (3,)."""
        (pixel,), (depth,) = self.camera.project(foot[None])
        if depth < _NEAR:
            return
        tall = round(height * self.camera.focal / float(depth))
        wide = round(tall * sprite.width / sprite.height)
        left, top = round(float(pixel[0]) - wide / 2), round(float(pixel[1])) - tall
        box = self._clip(left, top, left + wide, top + tall)
        if box is None or tall > 4 * self.camera.size[1]:
            return
        x0, x1 = (min((edge - left) * sprite.width / wide, sprite.width) for edge in box[::2])
        y0, y1 = (min((edge - top) * sprite.height / tall, sprite.height) for edge in box[1::2])
        drawn = sprite.resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.BILINEAR, box=(x0, y0, x1, y1))
        light = self.light.through_haze(self._haze(float(depth)))
        table = np.clip(np.arange(256)[None] * light.average[:, None] + light.panes[0][:, None], 0, 255)
        drawn = drawn.point([*table.astype(int).ravel().tolist(), *range(256)])
        self._merge(drawn, np.full((drawn.height, drawn.width), 1 / depth, np.float32), box, 0)

    def _lit(self, layer: Layer, plane: Plane) -> Image.Image:
        haze = self._haze(float(np.linalg.norm(plane.middle - self.camera.position)))
        lit = illuminate(layer, plane, self.light.through_haze(haze))
        # Not RGBA: Pillow would premultiply it by alpha for every warp. The backdrop makes that unnecessary at edges.
        return Image.frombuffer("RGBX", lit.shape[1::-1], lit, "raw", "RGBX", 0, 1)

    def _haze(self, distance: float) -> float:
        return float(1 - (1 - self._fog) ** (distance / self._reach))

    def _merge(self, drawn: Image.Image, inverse_depth: Floats, box: tuple[int, int, int, int], owner: int) -> None:
        window = (slice(box[1], box[3]), slice(box[0], box[2]))
        alpha = np.asarray(drawn.getchannel(3)) * (inverse_depth > self._inverse_depth[window])
        self.image.paste(drawn.convert("RGB"), box[:2], Image.fromarray(alpha))
        solid = alpha > 127
        self._inverse_depth[window][solid] = inverse_depth[solid]
        self.owner[window][solid] = owner

    def _box(self, homography: Matrix, plane: Plane) -> tuple[int, int, int, int] | None:
        width, height = plane.texture.width, plane.texture.height
        corners = homography @ np.array([[0, width, width, 0], [0, 0, height, height], [1, 1, 1, 1]], float)
        if corners[2].max() < _NEAR:
            return None
        if corners[2].min() < _NEAR:
            return self._visible_rows(homography)
        x, y = corners[:2] / corners[2]
        return self._clip(int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1)

    def _visible_rows(self, homography: Matrix) -> tuple[int, int, int, int] | None:
        """The rows of the frame that can show a plane which passes below or behind the camera."""
        along_x, along_y, start = np.linalg.inv(homography)[2]
        width, height = self.camera.size
        rows = np.flatnonzero(start + along_y * np.arange(height) + max(0.0, along_x * width) > 0)
        return self._clip(0, int(rows[0]), width, int(rows[-1]) + 1) if len(rows) else None

    def _clip(self, left: int, top: int, right: int, bottom: int) -> tuple[int, int, int, int] | None:
        box = (max(0, left), max(0, top), min(self.camera.size[0], right), min(self.camera.size[1], bottom))
        return box if box[2] - box[0] >= _MIN_SIDE and box[3] - box[1] >= _MIN_SIDE else None


def local_scale(homography: Matrix, points: Matrix) -> npt.NDArray[np.float64]:
    """Pixels per metre, of shape (N,), at points (N, 2) of a plane: the root of the Jacobian's det H / depth³."""
    depth = points @ homography[2, :2] + homography[2, 2]
    scale: npt.NDArray[np.float64] = np.sqrt(np.abs(np.linalg.det(homography)) / np.maximum(depth, 1e-3) ** 3)
    return scale


def _to_texture(homography: Matrix, layer: Layer) -> Matrix:
    """Maps pixels of the frame to homogeneous pixels of the layer (rows downwards); the third is the inverse depth."""
    rows = layer.alpha.shape[0]
    pixels: Matrix = np.array([[layer.scale, 0, 0], [0, -layer.scale, rows], [0, 0, 1]])
    back: Matrix = pixels @ np.linalg.inv(homography)
    return back
