"""A shard: the part of an index that one worker searches, and the interface of a worker."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from lrcr.config.retrieval import SearchParams
from lrcr.data.ranking import Ranking
from lrcr.errors import ArtifactError, LostShardError
from lrcr.retrieval.searcher import Searcher
from lrcr.runtime.threads import use_threads
from lrcr.storage.artifacts import Manifest, fingerprint


@dataclass(frozen=True)
class Source:
    """Which part of which index a worker searches.

    Args:
        folder: of the index, under this name wherever the worker runs.
        state: of the index (`state_of`), so that all parts are of the same.
        number: of the part, from 0.
        shards: number of parts.
        search: settings of the search.
        threads: of the worker.
    """

    folder: Path
    state: str
    number: int
    shards: int
    search: SearchParams
    threads: int

    def lost(self, cause: str) -> LostShardError:
        """The error that tells which shard was lost, and why."""
        shard = f"{self.folder}: shard {self.number + 1} of {self.shards}"
        return LostShardError(f"{shard} is lost: {cause}; open the index again")


def state_of(manifest: Manifest) -> str:
    """Identity of the state of an index: another one after each change of it."""
    return fingerprint(manifest.as_dict())


class Shard:
    """A part of an index, open for search.

    Raises:
        ArtifactError: a file is missing or damaged, or the index is in another state.
        ParamsError: the index cannot be divided into so many parts.
    """

    def __init__(self, source: Source) -> None:
        use_threads(source.threads)
        whole = Searcher(source.folder, source.search).index
        if state_of(whole.manifest) != source.state:
            raise ArtifactError(f"{source.folder}: another state than that of the other shards; open the index again")
        self._index, self._images = whole.shard(source.number, source.shards)

    def images(self) -> int:
        """The number of images."""
        return len(self._images)

    def rank(self, queries: Any, top: int | None) -> Ranking:
        """Rank the images of the shard, by their ids in the index; see `lrcr.retrieval.backend.OpenIndex`."""
        found = self._index.rank(queries, top)
        return replace(found, image=self._images[found.image])


class Worker(Protocol):
    """Searches a shard somewhere else; made from a `Source`, it opens the shard at once."""

    def images(self) -> int:
        """Wait until the shard is open; returns the number of its images.

        Raises:
            LostShardError: the worker has ended.
            LrcrError: the shard cannot be opened.
        """
        ...

    def ask(self, queries: Any, top: int | None) -> None:
        """Begin to rank the images for prepared queries; an answer that was not fetched is dropped."""
        ...

    def answer(self) -> Ranking:
        """Wait for the answer to the last question, by the ids of the images in the index.

        Raises:
            LostShardError: the worker has ended.
            LrcrError: the search failed.
        """
        ...

    def close(self) -> None:
        """End the worker."""
        ...
