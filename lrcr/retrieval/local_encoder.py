"""How an index stores the local descriptors that it owns: as unit vectors in float16, or as codes.

A code holds the signs of a descriptor minus a mean, D bits. The mean is that of the centroids of the codebook, or 0 in
an index without visual words. It must not depend on the images, because they change; that the mean of the words stands
for that of the descriptors is our choice, without a source. Descriptors that are all positive (SIFT, for example) would
have the same code without it.

The share of bits in which the codes of two vectors differ estimates their angle (Charikar, STOC 2002), so D bits with
the Hamming distance h stand for the cosine cos(π h / D), of the descriptors minus the mean.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.config.params import Params
from lrcr.features.store import Descriptors
from lrcr.retrieval.asmk.aggregation import columns
from lrcr.retrieval.asmk.signs import pack_signs
from lrcr.retrieval.backend import Backend

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Keypoints:
    """The local descriptors of one image.

    Args:
        descriptors: of shape (N, D), each row of unit length, or zero; or codes, uint64 of shape (N, ⌈D/64⌉).
        xy: of shape (N, 2), in pixels.
    """

    descriptors: npt.NDArray[Any]
    xy: Floats


@dataclass(frozen=True, eq=False)
class LocalPart:
    """The local descriptors of some images, as they are stored.

    Args:
        descriptors: float16 of shape (rows, D), or codes, uint64 of shape (rows, ⌈D/64⌉).
        xy: of shape (rows, 2).
        offsets: of shape (images + 1,).
        dim: D.
    """

    descriptors: npt.NDArray[Any]
    xy: Floats
    offsets: npt.NDArray[np.int64]
    dim: int


@dataclass(frozen=True, eq=False)
class LocalEncoder:
    """Turns extracted descriptors into what an index stores of them.

    Args:
        mean: is subtracted before the signs are taken, of shape (D,) or (1,); None: unit vectors are stored.
    """

    mean: Floats | None = None

    @property
    def binary(self) -> bool:
        """Whether codes are stored."""
        return self.mean is not None

    @property
    def dtype(self) -> Any:
        """Of the stored descriptors."""
        return np.uint64 if self.binary else np.float16

    def columns(self, dim: int) -> int:
        """Number of columns of stored descriptors of `dim` dimensions."""
        return columns(dim, binary=self.binary)

    def part(self, images: Descriptors) -> LocalPart:
        """The local descriptors of some images as they are stored, without those of their regions."""
        images = images.whole_images()
        dim = images.descriptors.shape[1]
        return LocalPart(self._encode(images.descriptors), images.xy.astype(np.float32), images.offsets, dim)

    def keypoints(self, images: Descriptors, image: int) -> Keypoints:
        """The local descriptors of one of some images, as `lrcr.retrieval.local.LocalDescriptors` gives them."""
        rows = slice(images.offsets[image], images.offsets[image + 1])
        return self.decode(self._encode(images.descriptors[rows]), images.xy[rows])

    def decode(self, stored: npt.NDArray[Any], xy: Floats) -> Keypoints:
        """Stored descriptors as they are compared: float32, or codes."""
        return Keypoints(stored if self.binary else stored.astype(np.float32), xy)

    def _encode(self, descriptors: npt.NDArray[np.floating[Any]]) -> npt.NDArray[Any]:
        rows = descriptors.astype(np.float32)
        if self.mean is not None:
            return pack_signs(rows - self.mean)
        unit: npt.NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return unit.astype(np.float16)


def local_encoder(params: Params, backend: Backend[Any]) -> LocalEncoder | None:
    """The encoder of an index with these params; None if it owns no local descriptors."""
    match params.index.local_descriptors:
        case "none":
            return None
        case "float16":
            return LocalEncoder()
        case "codes":
            return LocalEncoder(backend.local_mean)
