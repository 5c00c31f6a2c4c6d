"""The picture in the making: planes and sprites pasted in depth order, with a record of who owns each pixel."""

import numpy as np
import numpy.typing as npt
from PIL import Image

from lrcr.datasets.synthetic.camera import Camera, Matrix
from lrcr.datasets.synthetic.canvas import Bytes, Floats, Layer
from lrcr.datasets.synthetic.landmark import Plane, Vector
from lrcr.datasets.synthetic.light import Light, illuminate

_SMALLEST = 3  # pixels under which a plane is left out
_SHARPNESS = 0.7  # texture pixels a pixel of the frame, which is larger than the finished picture
_NEAREST = 0.3  # metres before the camera


class Frame:
    """A frame as large as the camera's, with an inverse depth and an owner for every pixel.

    Args:
        camera: the view.
        light: what shines.
        fog: share of a landmark's light that the air replaces at the distance `reach` (metres).
        sky: the background, of the camera's size; changed in place.

    Attributes:
        owner: 0 for scenery, else the number given with the plane, of shape (H, W).
    """

    def __init__(self, camera: Camera, light: Light, fog: float, reach: float, sky: Image.Image) -> None:
        self.camera, self.light, self.image = camera, light, sky
        self._fog, self._reach = fog, reach
        width, height = camera.size
        self._nearness: Floats = np.zeros((height, width), np.float32)
        self.owner: Bytes = np.zeros((height, width), np.uint8)

    def paste_plane(self, plane: Plane, owner: int = 0) -> None:
        """Draw a plane where nothing nearer has been drawn; nothing is drawn of its back."""
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
        nearness = (back[2, 0] * x[None] + back[2, 1] * y[:, None] + back[2, 2]).astype(np.float32)
        self._merge(drawn, nearness, box, owner)

    def paste_sprite(self, sprite: Image.Image, foot: Vector, height: float) -> None:
        """Draw an upright cut-out (RGBA) that stands at `foot` and is `height` metres tall."""
        (pixel,), (depth,) = self.camera.project(foot[None])
        if depth < _NEAREST:
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
        light = self.light.through(self._haze(float(depth)))
        table = np.clip(np.arange(256)[None] * light.average[:, None] + light.panes[0][:, None], 0, 255)
        drawn = drawn.point([*table.astype(int).ravel().tolist(), *range(256)])
        self._merge(drawn, np.full((drawn.height, drawn.width), 1 / depth, np.float32), box, 0)

    def _lit(self, layer: Layer, plane: Plane) -> Image.Image:
        air = self._haze(float(np.linalg.norm(plane.middle - self.camera.position)))
        lit = illuminate(layer, plane, self.light.through(air))
        # Not RGBA: Pillow would premultiply it for every warp, and the backdrop under cut edges is of a fair colour.
        return Image.frombuffer("RGBX", lit.shape[1::-1], lit, "raw", "RGBX", 0, 1)

    def _haze(self, distance: float) -> float:
        return float(1 - (1 - self._fog) ** (distance / self._reach))

    def _merge(self, drawn: Image.Image, nearness: Floats, box: tuple[int, int, int, int], owner: int) -> None:
        window = (slice(box[1], box[3]), slice(box[0], box[2]))
        alpha = np.asarray(drawn.getchannel(3)) * (nearness > self._nearness[window])
        self.image.paste(drawn.convert("RGB"), box[:2], Image.fromarray(alpha))
        solid = alpha > 127
        self._nearness[window][solid] = nearness[solid]
        self.owner[window][solid] = owner

    def _box(self, homography: Matrix, plane: Plane) -> tuple[int, int, int, int] | None:
        width, height = plane.texture.width, plane.texture.height
        corners = homography @ np.array([[0, width, width, 0], [0, 0, height, height], [1, 1, 1, 1]], float)
        if corners[2].max() < _NEAREST:
            return None
        if corners[2].min() < _NEAREST:
            return self._rows_before(homography)
        x, y = corners[:2] / corners[2]
        return self._clip(int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1)

    def _rows_before(self, homography: Matrix) -> tuple[int, int, int, int] | None:
        """The rows of the frame in which a plane that passes below or behind the camera can be seen."""
        slope, fall, start = np.linalg.inv(homography)[2]
        rows = np.flatnonzero(start + fall * np.arange(self.camera.size[1]) + max(0.0, slope * self.camera.size[0]) > 0)
        return self._clip(0, int(rows[0]), self.camera.size[0], int(rows[-1]) + 1) if len(rows) else None

    def _clip(self, left: int, top: int, right: int, bottom: int) -> tuple[int, int, int, int] | None:
        box = (max(0, left), max(0, top), min(self.camera.size[0], right), min(self.camera.size[1], bottom))
        return box if box[2] - box[0] >= _SMALLEST and box[3] - box[1] >= _SMALLEST else None


def local_scale(homography: Matrix, places: Matrix) -> npt.NDArray[np.float64]:
    """Pixels a metre at places of shape (N, 2) on a plane: the root of the Jacobian's determinant, det H / depth³."""
    depth = places @ homography[2, :2] + homography[2, 2]
    scale: npt.NDArray[np.float64] = np.sqrt(np.abs(np.linalg.det(homography)) / np.maximum(depth, 1e-3) ** 3)
    return scale


def _to_texture(homography: Matrix, layer: Layer) -> Matrix:
    """From pixels of the frame to pixels of the layer (rows down), homogeneous; the third is inverse depth."""
    rows = layer.alpha.shape[0]
    pixels: Matrix = np.array([[layer.scale, 0, 0], [0, -layer.scale, rows], [0, 0, 1]])
    back: Matrix = pixels @ np.linalg.inv(homography)
    return back
