"""Masonry of walls and roofs: repeatable patches of colour and relief."""

import numpy as np
import numpy.typing as npt

from lrcr.datasets.synthetic.canvas import Bytes, relief_byte
from lrcr.datasets.synthetic.style import Colour, Palette

_PATCH = 6.0  # metres after which the masonry repeats


def cladding(kind: str, palette: Palette, rng: np.random.Generator, scale: float) -> Bytes:
    """A repeatable patch of masonry: RGB and a relief byte, of shape (H, W, 4).

    Args:
        kind: ashlar, rustic, brick, bands, diaper, timber, stucco, tiles or slabs.
        scale: pixels per metre.
    """
    size = max(24, round(_PATCH * scale))
    if kind in ("stucco", "timber"):
        return _stucco(size, palette.wall, rng)
    if kind == "tiles":
        return _courses(size, palette.roof, rng, rows=16, columns=15, spread=0.13, joint=-0.10, scale=scale)
    if kind == "slabs":
        return _courses(size, palette.trim, rng, rows=3, columns=2, spread=0.04, joint=-0.04, scale=scale)
    if kind == "rustic":
        return _courses(size, palette.wall, rng, rows=8, columns=4, spread=0.07, joint=-0.16, scale=scale)
    if kind == "ashlar":
        return _courses(size, palette.wall, rng, rows=10, columns=5, spread=0.08, joint=-0.05, scale=scale)
    patch = _courses(size, palette.wall, rng, rows=20, columns=10, spread=0.12, joint=-0.04, scale=scale)
    if kind == "bands":
        _paint_bands(patch, palette.trim, period=max(2, size // 4))
    if kind == "diaper":
        _paint_diaper(patch, period=max(4, size // 3))
    return patch


def _stucco(size: int, colour: Colour, rng: np.random.Generator) -> Bytes:
    coarse = rng.normal(0, 1, (8, 8)).repeat(size // 8 + 1, 0).repeat(size // 8 + 1, 1)[:size, :size]
    grain = 1 + 0.012 * coarse + 0.025 * rng.normal(0, 1, (size, size))
    return _patch(np.array(colour) * grain[..., None], np.full((size, size), relief_byte(0.0)))


def _courses(
    size: int,
    colour: Colour,
    rng: np.random.Generator,
    rows: int,
    columns: int,
    spread: float,
    joint: float,
    scale: float,
) -> Bytes:
    """Blocks in running bond, each a little lighter or darker; `joint` is the height of the joints (metres, < 0)."""
    line = np.arange(size)
    row, column = line * rows // size, line * columns // size
    shifted = (line + size // (2 * columns)) % size * columns // size
    bond = np.where((row % 2 == 0)[:, None], column[None], shifted[None])
    shade = 1 + spread * rng.uniform(-1, 1, (rows, columns))[row[:, None], bond]
    width = max(1, round(0.05 * scale))
    in_joint = (np.roll(row, width) != row)[:, None] | (np.roll(bond, width, axis=1) != bond)
    visible = size / rows >= 3  # finer joints would only darken the wall
    shade = np.where(in_joint & visible, shade * 0.82, shade) * (1 + 0.02 * rng.normal(0, 1, (size, size)))
    relief = np.where(in_joint & visible, relief_byte(joint), relief_byte(0.0))
    return _patch(np.array(colour) * shade[..., None], relief)


def _paint_bands(patch: Bytes, colour: Colour, period: int) -> None:
    inside = (np.arange(len(patch)) // (period // 2)) % 2 == 1
    shade = patch[inside, :, :3].mean(axis=(0, 1))
    patch[inside, :, :3] = np.clip(patch[inside, :, :3] * (np.array(colour) / np.maximum(shade, 1)), 0, 255)


def _paint_diaper(patch: Bytes, period: int) -> None:
    y, x = np.mgrid[: len(patch), : patch.shape[1]]
    on_diamond = (np.abs((x + y) % period) < period // 8 + 1) | (np.abs((x - y) % period) < period // 8 + 1)
    patch[on_diamond, :3] = (patch[on_diamond, :3] * 0.68).astype(np.uint8)


def _patch(colour: npt.NDArray[np.float64], relief: npt.NDArray[np.int64]) -> Bytes:
    return np.dstack([np.clip(colour, 0, 255), relief]).astype(np.uint8)
