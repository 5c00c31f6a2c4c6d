"""The assignment of descriptors to words in k-means, shared out by the executor: a file for each block of descriptors.

Each process looks for the nearest words approximately, in cells that it makes from the words of the iteration.
"""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.progress import SILENT, Progress
from lrcr.retrieval.asmk.kmeans import Floats, Ids, nearest_in_cells
from lrcr.runtime.executor import make_shards
from lrcr.storage.artifacts import staged_file

_BLOCK = 2**20  # descriptors


@dataclass(frozen=True)
class SharedAssignment:
    """Finds the words nearest to each descriptor; see `lrcr.retrieval.asmk.kmeans.Nearest`.

    Args:
        folder: for unfinished work: descriptors, words, and the blocks that are done, which a killed run finds again.
    """

    folder: Path

    def __call__(self, points: Floats, centroids: Floats) -> Ids:
        """Assign all descriptors, always the same."""
        make = AssignRows(self.folder / "points.npy", self.folder / "words.npy")
        if not make.points.exists():
            _save(make.points, points)
        own = self.folder / f"assigned-{hashlib.sha256(centroids.tobytes()).hexdigest()[:16]}"
        for earlier in set(self.folder.glob("assigned-*")) - {own}:
            shutil.rmtree(earlier)
        own.mkdir(exist_ok=True)
        _save(make.words, centroids)
        files = make_shards(make, range(len(points)), _BLOCK, own, ".npy", SILENT, "assign")
        return np.concatenate([np.load(file) for file in files])


@dataclass(frozen=True)
class AssignRows:
    """Writes the nearest words of consecutive descriptors; see `lrcr.runtime.executor.Make`.

    Args:
        points: file of all descriptors, of shape (N, D).
        words: file of the words, of shape (K, D).
    """

    points: Path
    words: Path

    def __call__(self, rows: Sequence[Any], file: Path, progress: Progress) -> None:
        """Write word ids of shape (rows, number), nearest first."""
        points = np.load(self.points, mmap_mode="r")[rows[0] : rows[-1] + 1]
        _save(file, nearest_in_cells(np.asarray(points), np.load(self.words)))
        progress.advance(len(rows))


def _save(file: Path, array: npt.NDArray[Any]) -> None:
    with staged_file(file) as temporary, temporary.open("wb") as stream:
        np.save(stream, array)
