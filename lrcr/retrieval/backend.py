"""What ASMK and the flat index have in common: the steps between codebook and ranking.

What is learned before stands apart (`lrcr.retrieval.codebook`): a change of the search must not run k-means again.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lrcr.config.params import Params
from lrcr.config.retrieval import SearchParams
from lrcr.data.ranking import Ranking
from lrcr.features.store import Descriptors, Sample
from lrcr.progress import Progress
from lrcr.retrieval.asmk.engine import AsmkBackend
from lrcr.retrieval.asmk.explain import Match
from lrcr.retrieval.flat.engine import FlatBackend
from lrcr.runtime.device import resolve_device
from lrcr.storage.artifacts import Manifest

Part = TypeVar("Part")


class OpenIndex(Protocol):
    """An index open for search."""

    @property
    def manifest(self) -> Manifest:
        """What it is and what it was made from."""
        ...

    @property
    def images(self) -> int:
        """The number of images."""
        ...

    @property
    def summary(self) -> str:
        """Size in words."""
        ...

    @property
    def explains(self) -> bool:
        """Whether `explain` has an answer."""
        ...

    def prepare(self, queries: Descriptors) -> Any:
        """What `rank` takes, of queries described by the index's model.

        Raises:
            ArtifactError: the descriptors do not fit the index.
        """
        ...

    def rank(self, queries: Any, top: int | None) -> Ranking:
        """Rank the images for prepared queries; `top: None` returns all."""
        ...

    def explain(self, query: Descriptors, image: Descriptors) -> list[Match]:
        """What a query and an image of the index have in common, the largest contribution first.

        The contributions add up to the score of the image.

        Raises:
            ArtifactError: the descriptors do not fit the index, or it has no local matches.
        """
        ...

    def measure(self, queries: int) -> dict[str, float]:
        """The speed at which so many drawn queries are answered."""
        ...

    def verify(self, progress: Progress = ...) -> None:
        """Compare every file with its hash in the manifest.

        Raises:
            ArtifactError: naming a file that was altered.
        """
        ...


class Backend(Protocol[Part]):
    """The steps between codebook and ranking; a `Part` is what an index holds of some images."""

    def encode(self, images: Descriptors, names: Sequence[str]) -> Part:
        """What the index holds of some images; their names are for error messages."""
        ...

    def write_part(self, path: Path, part: Part) -> None:
        """Store what `encode` returned."""
        ...

    def read_part(self, path: Path) -> Part:
        """Read what `write_part` stored."""
        ...

    def build(self, parts: Iterable[Part], images: int, sample: Sample, folder: Path, inputs: dict[str, str]) -> None:
        """Build the index of a database in an existing (staged) folder, from the parts of its images in order."""
        ...

    def open(self, folder: Path, search: SearchParams) -> OpenIndex:
        """Open an index for search."""
        ...


def backend_of(params: Params, codebook_folder: Path) -> Backend[Any]:
    """The backend of the params' model: ASMK for local descriptors, the flat index for global vectors.

    Args:
        codebook_folder: as `lrcr.retrieval.codebook.make_codebook` wrote it.

    Raises:
        ParamsError: a GPU is asked for and there is none.
    """
    if params.model.is_local:
        return AsmkBackend(codebook_folder, params.index, params.seed)
    return FlatBackend(codebook_folder, params.index, resolve_device(params.device).type == "cuda")
