"""Turned and mirrored versions of a query photo, which are read like photos of their own."""

import io
from dataclasses import dataclass, replace
from typing import BinaryIO, Literal

from lrcr.data.dataset import Photo
from lrcr.data.decoding import decode
from lrcr.data.images import ORIENTATIONS, load_image, orient_box

_ROTATIONS = {"90°": 6, "180°": 3, "270°": 8}
"""Degrees clockwise → the value of the EXIF orientation that turns an image so."""
_MIRRORED = 2


@dataclass(frozen=True)
class TurnedImage:
    """A photo that is turned or mirrored as a whole: an `ImageFile` of its pixels.

    Args:
        photo: the photo; its box is not cropped.
        orientation: value of the EXIF orientation that turns it so.
    """

    photo: Photo
    orientation: int

    def __str__(self) -> str:
        return str(self.photo.path)

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """A stream of the pixels as BMP.

        Raises:
            ImageError: the photo cannot be decoded.
        """
        photo = self.photo
        pixels = load_image(photo.path, orient=photo.orient, tolerate_truncated=photo.tolerate_truncated).pixels
        turn = ORIENTATIONS[self.orientation].transpose
        stream = io.BytesIO()
        (pixels if turn is None else pixels.transpose(turn)).save(stream, "BMP")
        stream.seek(0)
        return stream


def versions_of(photo: Photo, *, rotations: bool, mirror: bool) -> dict[str, Photo]:
    """Name → version: the photo itself, whose name is empty, and those that are asked for.

    Args:
        photo: with EXIF orientation applied.
        rotations: whether it is also turned by 90°, 180° and 270° clockwise.
        mirror: whether left and right are also exchanged, of the photo that is not turned.

    Raises:
        ImageError: the photo has a box and cannot be decoded.
    """
    turns = {**(_ROTATIONS if rotations else {}), **({"mirrored": _MIRRORED} if mirror else {})}
    return {"": photo, **{name: _turn(photo, orientation) for name, orientation in turns.items()}}


def _turn(photo: Photo, orientation: int) -> Photo:
    box = photo.box
    if box is not None:
        size = decode(photo.path, 1, tolerate_truncated=photo.tolerate_truncated).shown_size
        box = orient_box(box, size, ORIENTATIONS[orientation])
    return replace(photo, path=TurnedImage(photo, orientation), box=box)
