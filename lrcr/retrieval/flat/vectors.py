"""From an image's descriptor rows to its one vector: whiten each row, sum, normalise."""

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


@dataclass(frozen=True, eq=False)
class RowWhitening:
    """x → W x + b of each row, then L2 normalisation.

    Args:
        weight: W, of shape (d, C).
        bias: b, of shape (d,).

    Raises:
        ArtifactError: the two do not fit each other, or hold NaN or infinity.
    """

    weight: Vectors
    bias: Vectors

    def __post_init__(self) -> None:
        """Refuse arrays that are no linear map."""
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise ArtifactError(f"whitening: weight {self.weight.shape} and bias {self.bias.shape} do not fit")
        if not (np.isfinite(self.weight).all() and np.isfinite(self.bias).all()):
            raise ArtifactError("whitening: holds NaN or infinity; learn it again")

    def apply(self, rows: npt.NDArray[np.floating[Any]]) -> Vectors:
        """Whiten rows of shape (N, C) to unit vectors of shape (N, d).

        Raises:
            ArtifactError: rows of another dimension.
        """
        if rows.shape[1] != self.weight.shape[1]:
            found = f"descriptors of {rows.shape[1]} dimensions, but the whitening wants {self.weight.shape[1]}"
            raise ArtifactError(f"{found}; extract them with the model that it was learned for")
        return normalise(rows.astype(np.float32, copy=False) @ self.weight.T + self.bias)


def to_vectors(images: Descriptors, whitening: RowWhitening | None, names: Sequence[str] | None = None) -> Vectors:
    """One unit vector for each image: the normalised sum of its rows, each whitened where there is a whitening.

    Most models give an image one row, R-MAC gives one for each region. An image without rows gets zeros.

    Args:
        names: of the images, for the error message; without them it tells their numbers.

    Raises:
        ArtifactError: rows of another dimension than the whitening's, or one that is not finite (its image is named).
    """
    require_finite(images, names)
    rows = images.descriptors.astype(np.float32, copy=False)
    if whitening is not None:
        rows = whitening.apply(rows)
    sums = np.zeros((len(images), rows.shape[1]), np.float32)
    np.add.at(sums, np.repeat(np.arange(len(images)), np.diff(images.offsets)), rows)
    return normalise(sums)


def write_vectors(path: Path, vectors: Vectors) -> None:
    """Store vectors, whole or not at all."""
    with staged_file(path) as temporary, temporary.open("wb") as file:
        np.save(file, vectors)


def read_vectors(path: Path) -> Vectors:
    """Read vectors that `write_vectors` stored, of shape (N, D)."""
    vectors: Vectors = np.load(path)
    return vectors


def normalise(vectors: Vectors) -> Vectors:
    """Unit vectors along the last dimension; zeros stay zeros."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Vectors = vectors / np.maximum(length, 1e-12)
    return unit
