"""Connected components of a graph of images."""

import numpy as np
import numpy.typing as npt

from lrcr.runtime.jit import serial

Ids = npt.NDArray[np.int64]


def connected_components(images: int, one: Ids, other: Ids) -> Ids:
    """The component of each image: the smallest id in it, of shape (images,).

    Args:
        images: their number.
        one: of shape (E,), an end of each edge.
        other: of shape (E,), the other end.

    Example:
        >>> connected_components(5, np.array([4, 1]), np.array([1, 3]))
        array([0, 1, 2, 1, 1])
    """
    parent = np.arange(images)
    _unite(np.ascontiguousarray(one, np.int64), np.ascontiguousarray(other, np.int64), parent)
    return parent


@serial
def _unite(one: Ids, other: Ids, parent: Ids) -> None:
    """Write the smallest id of the component of each image into `parent`, at first its own id."""
    for edge in range(len(one)):
        a, b = _root(parent, one[edge]), _root(parent, other[edge])
        parent[max(a, b)] = min(a, b)
    for image in range(len(parent)):
        parent[image] = parent[parent[image]]  # smaller ids are final already


@serial
def _root(parent: Ids, image: int) -> int:
    """The root of an image; the way to it is halved for the next call."""
    while parent[image] != image:
        parent[image] = parent[parent[image]]
        image = parent[image]
    return image
