"""From the descriptor rows of an image to its vector: whiten each row, sum the rows, normalise."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.errors import ArtifactError
from lrcr.features.store import Descriptors, require_finite
from lrcr.storage.artifacts import staged_file

Vectors = npt.NDArray[np.float32]

_ROWS = 32  # that are whitened at a time


@dataclass(frozen=True, eq=False)
class RowWhitening:
    """A whitening of descriptor rows: x → W x + b, then L2 normalisation.

    Args:
        weight: W, of shape (d, C).
        bias: b, of shape (d,).

    Raises:
        ArtifactError: weight and bias do not fit each other, or hold NaN or infinity.
    """

    weight: Vectors
    bias: Vectors

    def __post_init__(self) -> None:
        """Check shapes and values."""
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise ArtifactError(
                f"whitening: weight {self.weight.shape} and bias {self.bias.shape} do not fit; learn it again"
            )
        if not (np.isfinite(self.weight).all() and np.isfinite(self.bias).all()):
            raise ArtifactError("whitening: holds NaN or infinity; learn it again")

    def apply(self, rows: npt.NDArray[np.floating[Any]]) -> Vectors:
        """Whiten rows of shape (N, C) to unit vectors of shape (N, d); the result of a row is the same in any batch.

        Raises:
            ArtifactError: the rows have another dimension than the whitening.
        """
        if rows.shape[1] != self.weight.shape[1]:
            found = f"descriptors of {rows.shape[1]} dimensions, but the whitening needs {self.weight.shape[1]}"
            raise ArtifactError(f"{found}; extract them with the model that it was learned for")
        whitened = np.empty((len(rows), len(self.weight)), np.float32)
        # Always of the same shape: how BLAS rounds the result of a row depends on the number of rows.
        block = np.zeros((_ROWS, rows.shape[1]), np.float32)
        for first in range(0, len(rows), _ROWS):
            part = rows[first : first + _ROWS]
            block[: len(part)] = part
            whitened[first : first + len(part)] = (block @ self.weight.T)[: len(part)]
        return normalise(whitened + self.bias)


def to_vectors(images: Descriptors, whitening: RowWhitening | None, names: Sequence[str] | None = None) -> Vectors:
    """The unit vector of each image: the normalised sum of its rows, which are whitened first if there is a whitening.

    Most models give one row for an image; R-MAC gives one for each region. The vector of an image without rows is zero.
    Images that have a vector beside their rows are represented by it alone.

    Args:
        names: of the images, for the error message; without them it gives their numbers.

    Raises:
        ArtifactError: the rows have another dimension than the whitening, or a row is not finite (its image is named).
    """
    images = images.as_vectors()
    require_finite(images, names)
    rows = images.descriptors.astype(np.float32, copy=False)
    if whitening is not None:
        rows = whitening.apply(rows)
    sums = np.zeros((len(images), rows.shape[1]), np.float32)
    np.add.at(sums, np.repeat(np.arange(len(images)), np.diff(images.offsets)), rows)
    return normalise(sums)


def write_vectors(path: Path, vectors: Vectors) -> None:
    """Write vectors; the file appears whole or not at all."""
    with staged_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, vectors)


def read_vectors(path: Path) -> Vectors:
    """Read vectors of shape (N, D) that `write_vectors` wrote."""
    vectors: Vectors = np.load(path)
    return vectors


def normalise(vectors: Vectors) -> Vectors:
    """Divide vectors by their L2 norm along the last dimension; zero vectors stay zero."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Vectors = vectors / np.maximum(length, 1e-12)
    return unit
