"""The codebook: visual words learned by k-means, and the assignment of local descriptors to their nearest words."""

import logging
import zipfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.errors import ArtifactError, counted
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.asmk.cells import FEW_WORDS, WordCells
from lrcr.retrieval.asmk.kmeans import (
    Nearest,
    draw_words,
    exact_kmeans,
    nearest_of_all,
    searches_all,
    shortlist_kmeans,
)
from lrcr.retrieval.asmk.resuming import Resumed
from lrcr.runtime.seeds import derive_seed
from lrcr.storage.artifacts import Manifest, hash_file, open_manifest, write_manifest

_SEARCHED, _CANDIDATES = 7 / 32, 12  # of approximate assignment: the share of the cells, and words at least
POINTS_PER_WORD = 39  # the minimum that faiss recommends for k-means
_CENTROIDS = "centroids"
_FILE = "centroids.npy"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Codebook:
    """Visual words.

    Args:
        centroids: of shape (words, D), finite; they are converted to float32.
        approximate: whether the nearest words are found by approximate search, which is several times faster.

    Raises:
        ArtifactError: the centroids are not a matrix of finite values, or there are none.
    """

    centroids: npt.NDArray[np.float32]
    approximate: bool = False

    def __post_init__(self) -> None:
        """Check shape and values."""
        if self.centroids.ndim != 2 or 0 in self.centroids.shape:
            raise ArtifactError(f"codebook: centroids of shape {self.centroids.shape}; they must be (words, D)")
        if self.centroids.dtype != np.float32:
            object.__setattr__(self, "centroids", np.asarray(self.centroids, np.float32))
        _require_finite(self.centroids, "codebook: centroid", "learn the codebook again")

    def assign(self, descriptors: npt.NDArray[np.floating[Any]], count: int) -> npt.NDArray[np.int32]:
        """The nearest words of each descriptor by Euclidean distance, nearest first.

        Args:
            descriptors: of shape (N, D).
            count: number of words for each descriptor.

        Returns:
            Word ids of shape (N, min(count, words)).

        Raises:
            ArtifactError: the descriptors have another dimension than the codebook, or are not finite.
        """
        words, dim = self.centroids.shape
        if descriptors.ndim != 2 or descriptors.shape[1] != dim:
            found = f"descriptors of shape {descriptors.shape}, but the codebook needs (N, {dim})"
            raise ArtifactError(f"{found}; extract them with the model that the codebook was learned for")
        points = np.ascontiguousarray(descriptors, dtype=np.float32)
        _require_finite(points, "descriptors: row", "extract them again")
        return np.asarray(self._search(points, min(count, words)), dtype=np.int32)

    def _search(self, points: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.int64]:
        if not self.approximate or len(self.centroids) < FEW_WORDS:
            return np.asarray(self._exact.search(points, count)[1])
        return self._cells.search(points, count, max(6, _CANDIDATES // count))

    def recall(self, descriptors: npt.NDArray[np.floating[Any]], count: int) -> float:
        """The share of the `count` nearest words, by exact search, that `assign` finds for descriptors (N, D): 0–1."""
        found = self.assign(descriptors, count)
        truth = replace(self, approximate=False).assign(descriptors, count)
        return float((found[:, :, None] == truth[:, None, :]).any(axis=1).mean()) if len(truth) else 1.0

    @cached_property
    def _cells(self) -> WordCells:
        """The index of approximate assignment."""
        return WordCells(self.centroids, _SEARCHED)

    @cached_property
    def _exact(self) -> Any:
        """The index of exact assignment."""
        import faiss

        index = faiss.IndexFlatL2(self.centroids.shape[1])
        index.add(np.ascontiguousarray(self.centroids, dtype=np.float32))
        return index


def _require_finite(rows: npt.NDArray[np.float32], place: str, remedy: str) -> None:
    wrong = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(wrong):
        raise ArtifactError(f"{place} {wrong[0]} holds NaN or infinity ({len(wrong)} such rows); {remedy}")


def learn_codebook(
    descriptors: npt.NDArray[np.floating[Any]],
    words: int,
    *,
    iterations: int,
    seed: int,
    exact: bool = True,
    gpu: bool = False,
    nearest: Nearest = nearest_of_all,
    state: Path | None = None,
    progress: Progress = SILENT,
) -> Codebook:
    """Learn visual words by k-means over all descriptors; equal seeds give equal words.

    A word that loses all its descriptors is replaced: a large cluster is split in two.

    Args:
        descriptors: of shape (N, D).
        words: number of words; reduced, with a warning, to N // 39 if there are too few descriptors.
        iterations: of Lloyd's algorithm.
        exact: whether every iteration compares each descriptor with all words; see `lrcr.retrieval.asmk.kmeans`.
        gpu: whether faiss runs on GPUs, if there are any.
        nearest: finds the nearest words of descriptors where not every iteration does.
        state: a folder for unfinished work, from which a killed run continues; named by all that decides the words.
        progress: one step for each iteration.

    Raises:
        ArtifactError: there are no descriptors, or they are not finite.
    """
    if descriptors.ndim != 2 or 0 in descriptors.shape:
        raise ArtifactError(f"codebook: descriptors of shape {descriptors.shape}; extract some to learn from")
    points = np.ascontiguousarray(descriptors, dtype=np.float32)
    _require_finite(points, "codebook: descriptor", "extract them again")
    learnable = max(1, len(points) // POINTS_PER_WORD)
    if words > learnable:
        _log.warning(
            "codebook: %s instead of %d: each needs %d descriptors, and there are %d",
            *(counted(learnable, "word"), words, POINTS_PER_WORD, len(points)),
        )
    start = draw_words(points, min(words, learnable), derive_seed(seed, "codebook") & 0x7FFFFFFF)
    exact, resumed = exact or gpu, Resumed(state, start)
    done, centroids = resumed.done, resumed.centroids
    found = (
        exact_kmeans(points, centroids, gpu=gpu) if exact else shortlist_kmeans(points, centroids, nearest, done + 1)
    )
    with progress.task("learn codebook", iterations) as task:
        task.advance(done)
        for number, centroids in zip(range(done + 1, iterations + 1), found, strict=False):
            if exact or searches_all(number + 1):  # the next iteration depends on the words alone
                resumed.save(number, centroids)
            task.advance()
    return Codebook(centroids)


def read_centroids(path: Path) -> Codebook:
    """Read a codebook that a user provides: the array `centroids` (words, D) of an .npz file.

    Raises:
        ArtifactError: the file is missing or not an .npz file, or `centroids` is not a matrix of finite numbers.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            centroids = arrays[_CENTROIDS]
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; set codebook.file to an .npz with {_CENTROIDS!r}") from None
    except KeyError:
        raise ArtifactError(
            f"{path}: holds no array {_CENTROIDS!r}; store the words, of shape (words, D), under this name"
        ) from None
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path}: not a readable .npz of numbers ({error}); write it with numpy.savez") from None
    if not np.issubdtype(centroids.dtype, np.floating):
        raise ArtifactError(f"{path}: {_CENTROIDS!r} holds {centroids.dtype}; store float32")
    with np.errstate(over="ignore"):
        narrow = centroids.astype(np.float32)
    try:
        return Codebook(narrow)
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None


def save_codebook(folder: Path, codebook: Codebook, manifest: Manifest) -> None:
    """Write a codebook into an existing (staged) folder; its size and hash go to the facts of the manifest."""
    np.save(folder / _FILE, codebook.centroids)
    words, dim = codebook.centroids.shape
    stored = {"words": words, "dim": dim, "sha256": hash_file(folder / _FILE)}
    write_manifest(folder, replace(manifest, facts={**manifest.facts, **stored}))


def open_codebook(folder: Path) -> tuple[Codebook, Manifest]:
    """Read a stored codebook and its manifest.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    manifest = open_manifest(folder, "codebook")
    path = folder / _FILE
    if not path.exists() or hash_file(path) != manifest.facts.get("sha256"):
        raise ArtifactError(f"{path}: missing or altered since it was made; learn the codebook again")
    centroids = np.load(path, allow_pickle=False)
    expected = (manifest.facts.get("words"), manifest.facts.get("dim"))
    if centroids.shape != expected or centroids.dtype != np.float32:
        found = f"{centroids.dtype} of shape {centroids.shape}"
        raise ArtifactError(f"{path}: {found}, but its manifest says float32 of shape {expected}; learn it again")
    return Codebook(centroids), manifest
