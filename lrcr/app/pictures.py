"""Pictures of photos for the page: upright JPEGs of bounded size."""

import io

from lrcr.data.images import LoadedImage, resize

SIZES = (320, 1280)
"""Longest sides, in pixels: of a result in the list, and of a photo on its own."""


def draw_picture(loaded: LoadedImage, size: int) -> bytes:
    """A JPEG of a photo whose longest side is at most `size`."""
    stream = io.BytesIO()
    resize(loaded, size).save(stream, "JPEG", quality=85)
    return stream.getvalue()
