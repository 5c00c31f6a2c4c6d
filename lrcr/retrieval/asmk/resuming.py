"""The state of k-means between two iterations, in a file from which a killed run continues."""

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lrcr.storage.artifacts import staged_file

_EVERY = 10.0  # seconds: iterations that take less are not worth a file


class Resumed:
    """Reads and writes the state.

    Args:
        folder: for unfinished work, named by all that decides the words; None: nothing is kept.
        start: the words before the first iteration, of shape (words, D).

    Attributes:
        done: iterations that need not be made again.
        centroids: the words after them.
    """

    def __init__(self, folder: Path | None, start: npt.NDArray[np.float32]) -> None:
        self._file = None if folder is None else folder / "iteration.npz"
        self._saved = time.monotonic()
        self.done, self.centroids = 0, start
        if self._file is not None and self._file.exists():
            with np.load(self._file, allow_pickle=False) as state:
                self.done, self.centroids = int(state["done"]), state["centroids"]

    def save(self, done: int, centroids: npt.NDArray[np.float32]) -> None:
        """Keep the words after so many iterations, unless others were kept a moment ago."""
        if self._file is None or time.monotonic() - self._saved < _EVERY:
            return
        with staged_file(self._file) as temporary, temporary.open("wb") as stream:
            np.savez(stream, done=done, centroids=centroids)
        self._saved = time.monotonic()
