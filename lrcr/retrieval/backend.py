"""The interface of both engines, ASMK and the flat index: the steps from the codebook to a ranking.

The codebook is learned by another module (`lrcr.retrieval.codebook`), so that an edit of the search does not run
k-means again.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from lrcr.config.params import Params
from lrcr.config.retrieval import SearchParams
from lrcr.data.ranking import Ranking
from lrcr.features.store import Descriptors, Sample
from lrcr.progress import Progress
from lrcr.retrieval.asmk.aggregation import Aggregated
from lrcr.retrieval.asmk.engine import AsmkBackend
from lrcr.retrieval.asmk.explain import Match
from lrcr.retrieval.flat.engine import FlatBackend
from lrcr.runtime.device import faiss_uses_gpu
from lrcr.runtime.jobs import Executor
from lrcr.storage.artifacts import Manifest

Part = TypeVar("Part")


class OpenIndex(Protocol):
    """An index open for search."""

    @property
    def manifest(self) -> Manifest:
        """What the index was made from, and its statistics."""
        ...

    @property
    def images(self) -> int:
        """The number of images."""
        ...

    @property
    def order(self) -> npt.NDArray[np.int64] | None:
        """The places of the images in the stored table of images; None: image k is row k of the table."""
        ...

    @property
    def summary(self) -> str:
        """The size of the index, as a text."""
        ...

    @property
    def explains(self) -> bool:
        """Whether the index can explain a score by local matches."""
        ...

    @property
    def logarithmic(self) -> bool:
        """Whether unrelated scores have an exponential tail in their logarithm (`lrcr.retrieval.confidence`)."""
        ...

    def prepare(self, queries: Descriptors) -> Any:
        """Turn the descriptors of queries, extracted by the index's model, into what `rank` takes.

        Raises:
            ArtifactError: the descriptors do not fit the index.
        """
        ...

    def rank(self, queries: Any, top: int | None) -> Ranking:
        """Rank the images for prepared queries; `top: None` returns all."""
        ...

    def stored_queries(self) -> Iterator[Any]:
        """The images of the index as queries: batches of what `rank` takes, in the order of the images.

        The scores are symmetric, up to the rounding of floats.

        Raises:
            ArtifactError: a file of the index is damaged.
        """
        ...

    def shard(self, number: int, shards: int) -> "tuple[OpenIndex, npt.NDArray[np.int64]]":
        """One of several parts of the index, and the ids of its images, ascending.

        Image k of the part is image ids[k] of the index. Each image is in one part, and has there the score that it has
        in the index, to the last bit.

        Args:
            number: from 0.
            shards: number of parts.

        Raises:
            ParamsError: the index cannot be divided into so many.
        """
        ...

    def vectors(self) -> npt.NDArray[np.float32]:
        """The global vectors of all images, of shape (images, D).

        Raises:
            ArtifactError: the index holds local descriptors.
        """
        ...

    def postings(self, images: npt.NDArray[np.int64]) -> Aggregated:
        """The postings of some images, in their order.

        Raises:
            ArtifactError: the index holds global vectors, or is damaged.
        """
        ...

    def explain(self, query: Descriptors, image: Descriptors) -> list[Match]:
        """The local matches of a query and an image of the index, the largest contribution first.

        The contributions add up to the score of the image.

        Raises:
            ArtifactError: the descriptors do not fit the index, or the index has no local matches.
        """
        ...

    def measure(self, queries: int) -> dict[str, float]:
        """Measure the speed of the search, with random queries."""
        ...

    def verify(self, progress: Progress = ...) -> None:
        """Compare every file with its hash in the manifest.

        Raises:
            ArtifactError: a file is missing or was altered; the message names it.
        """
        ...


class Backend(Protocol[Part]):
    """The steps from the codebook to a ranking; a `Part` is what an index stores of some images."""

    @property
    def local_mean(self) -> npt.NDArray[np.float32]:
        """What is subtracted from local descriptors before their signs are taken, of shape (D,) or (1,)."""
        ...

    def encode(self, images: Descriptors, names: Sequence[str]) -> Part:
        """Compute what the index stores of some images; their names are for error messages."""
        ...

    def write_part(self, path: Path, part: Part) -> None:
        """Write what `encode` returned."""
        ...

    def read_part(self, path: Path) -> Part:
        """Read what `write_part` wrote."""
        ...

    def build(self, parts: Iterable[Part], images: int, sample: Sample, folder: Path, inputs: dict[str, str]) -> None:
        """Write the index of a database into an existing (staged) folder.

        Args:
            parts: what `encode` returned for consecutive images.
            images: number of images in all parts.
            sample: draws descriptors of the database.
            inputs: what the index is made from (see `Manifest`).
        """
        ...

    def build_shared(
        self,
        files: Sequence[Path],
        images: int,
        sample: Sample,
        folder: Path,
        inputs: dict[str, str],
        executor: Executor,
        progress: Progress,
    ) -> None:
        """Write the index that `build` writes, from files of parts, at least one; an executor may share the work.

        Args:
            files: what `write_part` wrote, of consecutive images, in a folder that all machines share.
        """
        ...

    def open(self, folder: Path, search: SearchParams, manifest: Manifest | None = None) -> OpenIndex:
        """Open an index for search.

        Args:
            manifest: of the index, if it is not written yet.
        """
        ...

    def append(self, folder: Path, parts: Iterable[Part], images: int, number: int) -> list[dict[str, Any]]:
        """Write images into new segments of an index; its manifest does not list them yet.

        Args:
            folder: of the index.
            parts: what `encode` or `restore` returned for consecutive images, at least one part.
            images: number of images in all parts.
            number: of the first new segment.

        Returns:
            An entry for each segment, for the fact `segments` of the manifest.
        """
        ...

    def restore(self, folder: Path, entries: Sequence[dict[str, Any]], order: npt.NDArray[np.int64]) -> Iterator[Part]:
        """Read stored images in another order: parts that `append` stores to the last bit as they are stored now.

        Args:
            folder: of the index.
            entries: of some segments.
            order: the place of each image among those of these segments.

        Raises:
            ArtifactError: a segment is damaged.
        """
        ...

    def measure(
        self, folder: Path, entries: Sequence[dict[str, Any]], order: npt.NDArray[np.int64], number: int
    ) -> dict[str, Any]:
        """Write what depends on all segments together, and return the facts for the manifest of the index.

        Args:
            folder: of the index.
            entries: of all segments.
            order: the places of the images that were not removed, in the order in which the index numbers them.
            number: of the folder that is written, if there is one.
        """
        ...


def backend_of(params: Params, codebook_folder: Path) -> Backend[Any]:
    """The backend of the params' model: ASMK for local descriptors, the flat index for global vectors.

    Args:
        codebook_folder: written by `lrcr.retrieval.codebook.make_codebook`.

    Raises:
        ParamsError: device is cuda and there is no GPU.
    """
    if has_words(params):
        return AsmkBackend(codebook_folder, params.index, params.seed)
    return FlatBackend(codebook_folder, params.index, faiss_uses_gpu(params.device))


def has_words(params: Params) -> bool:
    """Whether an index with these params holds visual words of local descriptors; if not, it holds global vectors."""
    return params.model.is_local
