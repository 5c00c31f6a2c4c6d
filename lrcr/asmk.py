"""ASMK on plain arrays of local descriptors (Tolias, Avrithis, Jégou, ICCV 2013): visual words, index and search.

Example:
    >>> import numpy as np
    >>> from lrcr import asmk
    >>> descriptors = np.random.default_rng(0).normal(size=(4000, 32)).astype(np.float32)
    >>> images = np.arange(4000) // 40
    >>> codebook = asmk.train_codebook(descriptors, words=64)
    >>> index = asmk.build("asmk.index", descriptors, images, codebook)
    >>> found, scores = index.search(descriptors[80:160], images[80:160] - 2, top=3)
    >>> found.shape, found[:, 0].tolist()
    ((2, 3), [2, 3])
"""

import operator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lrcr.config.reading import check_params
from lrcr.errors import ArtifactError
from lrcr.progress import SILENT, Progress
from lrcr.retrieval.asmk import index as engine
from lrcr.retrieval.asmk.aggregation import Aggregated, aggregate
from lrcr.retrieval.asmk.codebook import Codebook, learn_codebook, open_codebook, save_codebook
from lrcr.retrieval.asmk.segments import Layout
from lrcr.retrieval.layout import CODEBOOK, require_place
from lrcr.retrieval.lock import replaced_index
from lrcr.storage.artifacts import Manifest

__all__ = ["Codebook", "Index", "build", "open_index", "train_codebook"]

Floats = npt.NDArray[np.floating[Any]]
Ids = npt.NDArray[np.integer[Any]]


def train_codebook(
    descriptors: Floats, words: int, *, iterations: int = 25, seed: int = 0, progress: Progress = SILENT
) -> Codebook:
    """Learn visual words by k-means over all descriptors; equal seeds give equal words.

    Args:
        descriptors: of shape (N, D).
        words: their number; it is reduced, with a warning, to N // 39 if there are too few descriptors.
        iterations: of k-means.
        seed: of the descriptors with which k-means starts.
        progress: one step for each iteration.

    Returns:
        The words: `centroids` of shape (words, D). A codebook from elsewhere: `Codebook(centroids)`.

    Raises:
        ArtifactError: there are no descriptors, or they are not finite.
        ParamsError: `words` or `iterations` is below 1.
    """
    check_params({"codebook": {"words": operator.index(words), "iterations": operator.index(iterations)}}, "asmk")
    return learn_codebook(descriptors, words, iterations=iterations, seed=seed, exact=False, progress=progress)


def build(
    folder: Path | str,
    descriptors: Floats,
    images: Ids,
    codebook: Codebook,
    *,
    assignment: int = 1,
    binary: bool = True,
    pack_ids: bool = False,
) -> "Index":
    """Write the index of a database into a folder, and open it. An index that is already there is replaced.

    Args:
        folder: of the index; the codebook is stored there too.
        descriptors: of all images, of shape (N, D).
        images: the image of each descriptor, numbers from 0, of shape (N,).
        codebook: the visual words.
        assignment: words of each descriptor.
        binary: whether an image is stored by the signs of its residuals; False: by the residuals, in float16.
        pack_ids: whether image ids take about 10 bits; see `index.pack_ids`.

    Raises:
        ArtifactError: the arrays contradict each other, do not fit the codebook or are not finite, or another process
            is changing the index.
        ParamsError: `assignment` is below 1, or `folder` is something else than an index.
    """
    check_params({"index": {"multiple_assignment": operator.index(assignment)}}, "asmk")
    target = Path(folder)
    require_place(target)
    part = _aggregate(descriptors, images, codebook, assignment, binary=binary)
    words, dim = codebook.centroids.shape
    layout = Layout(words, dim, binary, pack_ids)
    with replaced_index(target) as temporary:
        (temporary / CODEBOOK).mkdir()
        save_codebook(temporary / CODEBOOK, codebook, Manifest("codebook", {}, {}))
        engine.build_index(temporary, [part], layout, params={}, inputs={})
    return open_index(target)


def open_index(folder: Path | str) -> "Index":
    """Open an index that `build` wrote.

    Raises:
        ArtifactError: a file is missing or damaged.
    """
    return Index(Path(folder))


class Index:
    """An index open for search.

    Args:
        folder: of the index.

    Raises:
        ArtifactError: a file is missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self._index = engine.open_index(folder)
        self._codebook, _ = open_codebook(folder / CODEBOOK)

    def __len__(self) -> int:
        """The number of images."""
        return self._index.images

    def search(
        self,
        descriptors: Floats,
        queries: Ids | None = None,
        top: int | None = None,
        *,
        assignment: int = 5,
        alpha: float = 3.0,
        tau: float = 0.0,
        idf: bool = False,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Rank the images for each query, best first; ties by image.

        Args:
            descriptors: of all queries, of shape (N, D).
            queries: the query of each descriptor, numbers from 0, of shape (N,); None: all are of query 0.
            top: number of images for each query, K; None: all images.
            assignment: words of each descriptor.
            alpha: exponent of the similarity u: u^alpha for u ≥ tau, else 0.
            tau: similarity below which a match counts 0, in [0, 1).
            idf: whether rare words have a larger weight.

        Returns:
            The images and their scores, each of shape (Q, K).

        Raises:
            ArtifactError: the arrays contradict each other, do not fit the index or are not finite.
            ParamsError: a setting is refused.
        """
        given = {"multiple_assignment": assignment, "alpha": alpha, "tau": tau, "idf": idf, "top": top}
        check_params({"search": given}, "asmk")
        rows = np.zeros(len(descriptors), np.int64) if queries is None else queries
        binary, least = self._index.layout.binary, int(queries is None)
        found = _aggregate(descriptors, rows, self._codebook, assignment, binary=binary, least=least)
        images, scores, _ = self._index.search(found, alpha=alpha, tau=tau, idf=idf, top=top)
        shape = found.count, len(self) if top is None else min(top, len(self))
        return images.reshape(shape), scores.reshape(shape)


def _aggregate(
    descriptors: Floats, owners: Ids, codebook: Codebook, assignment: int, *, binary: bool, least: int = 0
) -> Aggregated:
    """The postings of the images, or queries, that own the descriptors; of at least so many."""
    owners = np.asarray(owners)
    if owners.shape != (len(descriptors),) or owners.dtype.kind not in "iu" or owners.min(initial=0) < 0:
        found = f"{owners.dtype} of shape {owners.shape}, from {owners.min(initial=0)}"
        raise ArtifactError(f"ids: {found}, for {len(descriptors)} descriptors; give each a whole number from 0")
    owners = owners.astype(np.int64)
    order = np.argsort(owners, kind="stable")
    count = int(owners.max(initial=least - 1)) + 1
    offsets = np.searchsorted(owners[order], np.arange(count + 1))
    rows = np.asarray(descriptors)[order]
    return aggregate(rows, codebook.assign(rows, assignment), offsets, codebook.centroids, binary=binary)
