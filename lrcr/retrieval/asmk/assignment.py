"""The assignment of descriptors to words in k-means, shared by an executor: the same words as in one process."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lrcr.progress import SILENT, Progress
from lrcr.retrieval.asmk.kmeans import BLOCK, Floats, Ids, nearest_of_block
from lrcr.runtime.executor import make_shards
from lrcr.runtime.jobs import Executor
from lrcr.storage.artifacts import staged_file


@dataclass(frozen=True)
class SharedAssignment:
    """Finds the nearest words of all descriptors, as `lrcr.retrieval.asmk.kmeans.nearest_words`.

    What was found for some centroids stays in files, so that a run after a kill continues.

    Args:
        state: folder for the files, which all machines share; the caller removes it.
        executor: makes a file for each block of descriptors.
    """

    state: Path
    executor: Executor

    def __call__(self, points: Floats, centroids: Floats) -> Ids:
        """The words nearest to each descriptor, nearest first."""
        folder = self.state / hashlib.sha256(centroids.tobytes()).hexdigest()[:32]
        folder.mkdir(exist_ok=True)
        make = _AssignBlock(self.state / "points.npy", folder / "centroids.npy")
        for file, array in ((make.points, points), (make.centroids, centroids)):
            if not file.exists():
                _save(file, array)
        starts = range(0, len(points), BLOCK)
        files = make_shards(make, starts, 1, folder, ".npy", SILENT, "assign", self.executor)
        return np.concatenate([np.load(file) for file in files])


@dataclass(frozen=True)
class _AssignBlock:
    """Writes the nearest words of the block of descriptors from a place on; see `lrcr.runtime.jobs.Make`."""

    points: Path
    centroids: Path

    def __call__(self, starts: Sequence[int], file: Path, progress: Progress) -> None:
        block = np.load(self.points, mmap_mode="r")[starts[0] : starts[0] + BLOCK]
        _save(file, nearest_of_block(np.ascontiguousarray(block), np.load(self.centroids)))
        progress.advance()


def _save(file: Path, array: npt.NDArray[np.float32] | Ids) -> None:
    with staged_file(file) as temporary, temporary.open("wb") as stream:
        np.save(stream, array)
