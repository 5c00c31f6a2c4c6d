"""Which engine serves a model: ASMK for local descriptors, the flat index for global vectors.

After extraction this is the one place where the ways of the two families part.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lrcr.config.params import Params
from lrcr.config.retrieval import SearchParams
from lrcr.data.ranking import Ranking
from lrcr.features.store import Descriptors, DescriptorStore, Sample
from lrcr.progress import Progress
from lrcr.retrieval.asmk import engine as asmk
from lrcr.retrieval.asmk.aggregation import read_aggregated, write_aggregated
from lrcr.retrieval.flat import engine as flat
from lrcr.retrieval.flat.vectors import read_vectors, write_vectors
from lrcr.storage.artifacts import Manifest


class AnyIndex(Protocol):
    """What every index can tell of itself."""

    @property
    def manifest(self) -> Manifest:
        """What it is and what it was made from."""
        ...

    @property
    def images(self) -> int:
        """How many images it holds."""
        ...

    def verify(self, progress: Progress = ...) -> None:
        """Compare every file with its hash in the manifest."""
        ...


class Search(Protocol):
    """An index open for search."""

    @property
    def index(self) -> AnyIndex:
        """What is searched."""
        ...

    @property
    def summary(self) -> str:
        """What an image takes, in words."""
        ...

    def prepare(self, queries: Descriptors) -> Any:
        """What `rank` takes, of queries described by the index's model."""
        ...

    def rank(self, queries: Any, top: int | None) -> Ranking:
        """Rank the images for prepared queries; `top: None` returns all."""
        ...

    def measure(self, queries: int) -> dict[str, float]:
        """The speed at which so many drawn queries are answered."""
        ...


@dataclass(frozen=True)
class Engine:
    """The steps between extraction and ranking.

    Args:
        learn: what lies between descriptors and index into a staged folder: from the fit set's descriptors, or without
            them as the params say.
        reduce: with a codebook folder, what reduces the descriptors of some images to what an index holds of them;
            their names serve its messages.
        write_part, read_part: what `reduce` returns to a file and back.
        build: the index of a database into a staged folder, from the codebook folder, the parts that `reduce` made of
            its images in order, how many images these are, and what draws a sample of their descriptors.
        open: an index for search.
    """

    learn: Callable[[Params, DescriptorStore | None, Path, Manifest, Track], None]
    reduce: Callable[[Params, Path], Callable[[Descriptors, Sequence[str]], Any]]
    write_part: Callable[[Path, Any], None]
    read_part: Callable[[Path], Any]
    build: Callable[[Params, Path, Iterable[Any], int, Sample, Path, dict[str, str]], None]
    open: Callable[[Path, Path, Params, SearchParams], Search]


_ASMK = Engine(asmk.learn, asmk.reduce, write_aggregated, read_aggregated, asmk.build, asmk.open_search)
_FLAT = Engine(flat.learn, flat.reduce, write_vectors, read_vectors, flat.build, flat.open_search)


def engine_of(params: Params) -> Engine:
    """The engine of the params' model."""
    return _ASMK if params.model.is_local else _FLAT
