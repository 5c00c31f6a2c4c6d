"""A drawing surface in metres that stores colour and relief in one image, and the texture made from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from lrcr.datasets.synthetic.style import Colour

Point = tuple[float, float]
Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

PANES = 40  # 1…39 number the groups of glass that are lit independently; 0 is no glass
_OVERSAMPLING = 2
_STEP = 0.02  # metres of relief per byte value
_WALL = 120  # the byte value of the wall's plane; 1…39 are glass, 0 is transparent
_GLASS_RELIEF = -0.4
_MIPMAPS = 3

_ALPHA = [0] + [255] * 255
_RELIEF = [_WALL] + [round(_WALL + _GLASS_RELIEF / _STEP)] * (PANES - 1) + list(range(PANES, 256))


@dataclass(frozen=True)
class Layer:
    """One resolution of a texture; rows run downwards.

    Args:
        scale: pixels per metre.
        colour: albedo, of shape (H, W, 3).
        alpha: coverage, of shape (H, W).
        relief: height above the wall in metres, of shape (H, W).
        panes: number of the pane of glass at each pixel, 0 for none, of shape (H, W).
    """

    scale: float
    colour: Bytes
    alpha: Bytes
    relief: Floats
    panes: Bytes

    @cached_property
    def slopes(self) -> tuple[Floats, Floats]:
        """Slope of the relief (metres per metre) to the right and upwards, both of shape (H, W)."""
        rise = np.zeros((2, *self.relief.shape), np.float32)
        half = self.scale / 2
        rise[0, :, 1:-1] = (self.relief[:, 2:] - self.relief[:, :-2]) * half
        rise[1, 1:-1] = (self.relief[:-2] - self.relief[2:]) * half
        np.clip(rise, -0.7, 0.7, out=rise)
        return rise[0], rise[1]

    @cached_property
    def openness(self) -> Floats:
        """Share of the sky visible from each pixel, from about 0.5 in deep corners to 1, of shape (H, W)."""
        bytes_ = np.clip(self.relief / _STEP + 128, 0, 255).astype(np.uint8)
        around = Image.fromarray(bytes_).filter(ImageFilter.BoxBlur(max(1.0, 0.5 * self.scale)))
        depth = (np.asarray(around, np.float32) - 128) * _STEP - self.relief
        openness: Floats = np.clip(0.92 - 0.55 * depth, 0.45, 1.08)
        return openness

    @cached_property
    def glass(self) -> tuple[npt.NDArray[np.bool_], Bytes]:
        """Mask of the glass, of shape (H, W), and the number of the pane at each of its G pixels, of shape (G,)."""
        where = self.panes > 0
        return where, self.panes[where]


class Texture:
    """The finished surface of a plane at three resolutions; its coordinates start at the lower left corner.

    Args:
        layer: the finest resolution.
    """

    def __init__(self, layer: Layer) -> None:
        self._layers = [layer]
        self.width = layer.alpha.shape[1] / layer.scale
        self.height = layer.alpha.shape[0] / layer.scale

    def at(self, scale: float) -> Layer:
        """The coarsest layer with at least `scale` pixels per metre; the finest if none has."""
        level = 0
        while level < _MIPMAPS - 1 and self._layers[0].scale / 2 ** (level + 1) >= scale:
            level += 1
        while len(self._layers) <= level:
            self._layers.append(_halve(self._layers[-1]))
        return self._layers[level]


def _halve(layer: Layer) -> Layer:
    colour = np.asarray(Image.fromarray(layer.colour).reduce(2))
    alpha, relief = (np.asarray(Image.fromarray(plane).reduce(2)) for plane in (layer.alpha, layer.relief))
    return Layer(layer.scale / 2, colour, alpha, relief, layer.panes[::2, ::2])


class Canvas:
    """A drawing surface; all lengths are in metres, `relief` is the height above the plane of the wall.

    Args:
        left, bottom: coordinates of the lower left corner.
        width, height: of the canvas.
        scale: pixels per metre of the finished texture.
        backdrop: colour where nothing is drawn; it is visible through antialiased edges.
    """

    def __init__(self, left: float, bottom: float, width: float, height: float, scale: float, backdrop: Colour) -> None:
        columns, rows = (max(8, 4 * round(length * scale / 4)) for length in (width, height))
        self.scale = scale
        self._fine = scale * _OVERSAMPLING
        self._left, self._top = left, bottom + rows / scale
        self.image = Image.new("RGBA", (columns * _OVERSAMPLING, rows * _OVERSAMPLING), (*backdrop, 0))
        self._draw = ImageDraw.Draw(self.image)
        self._pane = 0

    def _pixels(self, points: Sequence[Point]) -> list[Point]:
        return [((x - self._left) * self._fine, (self._top - y) * self._fine) for x, y in points]

    def polygon(self, points: Sequence[Point], colour: Colour, relief: float = 0.0) -> None:
        """Fill a polygon."""
        self._draw.polygon(self._pixels(points), fill=(*colour, relief_byte(relief)))

    def rectangle(self, x: float, y: float, width: float, height: float, colour: Colour, relief: float = 0.0) -> None:
        """Fill a rectangle, given by its lower left corner and its size."""
        (left, top), (right, bottom) = self._pixels([(x, y + height), (x + width, y)])
        box = (left, top, max(left, right - 1), max(top, bottom - 1))
        self._draw.rectangle(box, fill=(*colour, relief_byte(relief)))

    def ellipse(self, x: float, y: float, rx: float, ry: float, colour: Colour, relief: float = 0.0) -> None:
        """Fill an ellipse, given by its centre and radii."""
        (left, top), (right, bottom) = self._pixels([(x - rx, y + ry), (x + rx, y - ry)])
        self._draw.ellipse((left, top, right, bottom), fill=(*colour, relief_byte(relief)))

    def line(self, points: Sequence[Point], width: float, colour: Colour, relief: float = 0.0) -> None:
        """Draw a polyline of the given width."""
        pixels = max(1, round(width * self._fine))
        self._draw.line(self._pixels(points), fill=(*colour, relief_byte(relief)), width=pixels)

    def glass(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon with recessed glass, as a pane that can be lit at night."""
        self._pane = self._pane % (PANES - 1) + 1
        self._draw.polygon(self._pixels(points), fill=(*colour, self._pane))

    def cut(self, points: Sequence[Point]) -> None:
        """Make a polygon transparent."""
        self._draw.polygon(self._pixels(points), fill=(0, 0, 0, 0))

    def cover(self, points: Sequence[Point], cladding: Bytes) -> None:
        """Fill a polygon with a repeated patch of masonry: RGB and a relief byte, of shape (H, W, 4)."""
        pixels = self._pixels(points)
        left, top = (max(0, int(min(axis))) for axis in zip(*pixels, strict=True))
        right, bottom = (int(max(axis)) + 1 for axis in zip(*pixels, strict=True))
        size = (min(right, self.image.width) - left, min(bottom, self.image.height) - top)
        if min(size) <= 0:
            return
        mask = Image.new("1", size)
        ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in pixels], fill=1)
        rows, columns = (-(-size[axis] // (2 * cladding.shape[1 - axis])) for axis in (1, 0))
        sheet = Image.fromarray(np.tile(cladding, (rows, columns, 1)))
        sheet = sheet.resize((sheet.width * 2, sheet.height * 2), Image.Resampling.NEAREST).crop((0, 0, *size))
        self.image.paste(sheet, (left, top), mask)

    def texture(self) -> Texture:
        """The drawing as a texture."""
        code = self.image.getchannel("A")
        alpha, relief = code.point(_ALPHA).reduce(_OVERSAMPLING), code.point(_RELIEF).reduce(_OVERSAMPLING)
        panes = np.asarray(code)[::_OVERSAMPLING, ::_OVERSAMPLING]
        layer = Layer(
            scale=self.scale,
            colour=np.asarray(self.image.convert("RGB").reduce(_OVERSAMPLING)),
            alpha=np.asarray(alpha),
            relief=(np.asarray(relief, np.float32) - _WALL) * _STEP,
            panes=np.where(panes < PANES, panes, 0).astype(np.uint8),
        )
        return Texture(layer)


def relief_byte(relief: float) -> int:
    """The byte in which a canvas stores a height above the wall (metres)."""
    return min(255, max(PANES, round(_WALL + relief / _STEP)))
