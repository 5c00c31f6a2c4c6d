"""The interface of both engines, ASMK and the flat index: the steps from the codebook to a ranking.

The codebook is learned by another module (`lrcr.retrieval.codebook`), so that an edit of the search does not run
k-means again.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from lrcr.config.params import Params
from lrcr.config.retrieval import SearchParams
from lrcr.data.ranking import Ranking
from lrcr.features.store import Descriptors, Sample
from lrcr.progress import Progress
from lrcr.retrieval.asmk.engine import AsmkBackend
from lrcr.retrieval.asmk.explain import Match
from lrcr.retrieval.flat.engine import FlatBackend
from lrcr.runtime.device import faiss_uses_gpu
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
    def summary(self) -> str:
        """The size of the index, as a text."""
        ...

    @property
    def explains(self) -> bool:
        """Whether the index can explain a score by local matches."""
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

    def vectors(self) -> npt.NDArray[np.float32]:
        """The global vectors of all images, of shape (images, D).

        Raises:
            ArtifactError: the index holds local descriptors.
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

    def open(self, folder: Path, search: SearchParams) -> OpenIndex:
        """Open an index for search."""
        ...


def backend_of(params: Params, codebook_folder: Path) -> Backend[Any]:
    """The backend of the params' model: ASMK for local descriptors, the flat index for global vectors.

    Args:
        codebook_folder: written by `lrcr.retrieval.codebook.make_codebook`.

    Raises:
        ParamsError: device is cuda and there is no GPU.
    """
    if params.model.is_local:
        return AsmkBackend(codebook_folder, params.index, params.seed)
    return FlatBackend(codebook_folder, params.index, faiss_uses_gpu(params.device))
