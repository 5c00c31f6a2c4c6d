"""The assignment of descriptors to words in k-means, shared out by an executor: a file for each block of descriptors.

Each block is searched on its own, so the words do not depend on who searches it.
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
from lrcr.retrieval.asmk.kmeans import Floats, Ids, Nearest
from lrcr.runtime.executor import make_shards
from lrcr.runtime.jobs import Executor
from lrcr.storage.artifacts import staged_file

_BLOCK = 2**20  # descriptors


@dataclass(frozen=True)
class SharedAssignment:
    """Finds the words nearest to each descriptor; see `lrcr.retrieval.asmk.kmeans.Nearest`.

    Args:
        folder: for unfinished work: descriptors, words, and the blocks that are done, which a killed run finds again;
            all machines of the executor share it.
        nearest: what finds the words nearest to the descriptors of a block; can be pickled.
        executor: makes the files.
    """

    folder: Path
    nearest: Nearest
    executor: Executor

    def __call__(self, points: Floats, centroids: Floats) -> Ids:
        """Assign all descriptors, always the same."""
        own = self.folder / f"assigned-{hashlib.sha256(centroids.tobytes()).hexdigest()[:16]}"
        for earlier in set(self.folder.glob("assigned-*")) - {own}:
            shutil.rmtree(earlier)
        own.mkdir(exist_ok=True)
        make = AssignRows(self.folder / "points.npy", own / "words.npy", self.nearest)
        for file, array in ((make.points, points), (make.words, centroids)):
            if not file.exists():
                _save(file, array)
        files = make_shards(make, range(len(points)), _BLOCK, own, ".npy", SILENT, "assign", self.executor)
        return np.concatenate([np.load(file) for file in files])


@dataclass(frozen=True)
class AssignRows:
    """Writes the nearest words of consecutive descriptors; see `lrcr.runtime.jobs.Make`.

    Args:
        points: file of all descriptors, of shape (N, D).
        words: file of the words, of shape (K, D).
        nearest: what finds the nearest words.
    """

    points: Path
    words: Path
    nearest: Nearest

    def __call__(self, rows: Sequence[Any], file: Path, progress: Progress) -> None:
        """Write word ids of shape (rows, number), nearest first."""
        points = np.load(self.points, mmap_mode="r")[rows[0] : rows[-1] + 1]
        _save(file, self.nearest(np.asarray(points), np.load(self.words)))
        progress.advance(len(rows))


def _save(file: Path, array: npt.NDArray[Any]) -> None:
    with staged_file(file) as temporary, temporary.open("wb") as stream:
        np.save(stream, array)
