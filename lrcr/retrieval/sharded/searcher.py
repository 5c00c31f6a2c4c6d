"""Search in an index by several workers, each of which holds some of its segments."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Self

import numba

from lrcr.config.rerank import RerankParams
from lrcr.config.retrieval import SearchParams
from lrcr.data.ranking import Ranking
from lrcr.errors import LostShardError
from lrcr.features.store import Descriptors
from lrcr.retrieval.contents import open_steadily
from lrcr.retrieval.searcher import Searcher
from lrcr.retrieval.sharded.merging import merge_rankings
from lrcr.retrieval.sharded.processes import ProcessWorker
from lrcr.retrieval.sharded.shard import Source, Worker, state_of

_LOG = logging.getLogger(__name__)


class ShardedSearcher(Searcher):
    """Searches an index by several workers; answers are to the last bit those of `lrcr.retrieval.searcher.Searcher`.

    A shard is some consecutive segments of an inverted file, or some blocks of a matrix of vectors. The weights of the
    words and the norms are those of the whole index. Re-ranking runs in this process.

    Processes import the script that starts them, so its own work must stand below `if __name__ == "__main__":`.

    Args:
        folder, search, photos, rerank: as of `Searcher`.
        shards: number of workers.
        threads: of each worker; None: this process's, divided among them.
        partial: whether `search` answers without the shards that were lost; the ranking tells how many images were not
            searched (`unsearched`).
        worker: makes the worker of a shard: `lrcr.retrieval.sharded.processes.ProcessWorker`, or
            `lrcr.retrieval.sharded.actors.RayWorker` for a cluster.

    Raises:
        ArtifactError: a file of the index is missing or damaged.
        LostShardError: a worker ended before its shard was open.
        ParamsError: as of `Searcher`, or the index cannot be divided into so many shards.
    """

    def __init__(
        self,
        folder: Path,
        search: SearchParams | None = None,
        photos: Sequence[Path] = (),
        rerank: Sequence[RerankParams] = (),
        *,
        shards: int = 2,
        threads: int | None = None,
        partial: bool = False,
        worker: Callable[[Source], Worker] = ProcessWorker,
    ) -> None:
        self.partial, self._lock = partial, Lock()
        self._workers: list[Worker] = []

        def start() -> list[int]:
            self.close()
            super(ShardedSearcher, self).__init__(folder, search, photos, rerank)
            self.index.shard(0, shards)  # refuses a wrong number of shards
            each = threads or max(1, numba.get_num_threads() // shards)
            whole = Source(folder.resolve(), state_of(self.index.manifest), 0, shards, search or SearchParams(), each)
            self._workers = [worker(replace(whole, number=number)) for number in range(shards)]
            return [one.images() for one in self._workers]

        try:
            self._images = open_steadily(folder, start)
        except BaseException:
            self.close()
            raise

    def search(self, queries: Descriptors, top: int | None = None) -> Ranking:
        """Rank the images of the index for each query; see `Searcher.search`.

        Raises:
            ArtifactError: the descriptors do not fit the index, or a file of it is damaged.
            LostShardError: a worker has ended; where partial answers are allowed, every worker has.
        """
        return self.rank(self.index.prepare(queries), top)

    def rank(self, queries: Any, top: int | None = None) -> Ranking:
        """As `search`, for queries that are prepared already (`lrcr.retrieval.backend.OpenIndex`)."""
        with self._lock:
            for worker in self._workers:
                worker.ask(queries, top)
            answers = [_answer(worker) for worker in self._workers]
        found = [answer for answer in answers if isinstance(answer, Ranking)]
        lost = [answer for answer in answers if isinstance(answer, LostShardError)]
        if lost and not (self.partial and found):
            raise lost[0]
        unsearched = sum(
            images for images, answer in zip(self._images, answers, strict=True) if isinstance(answer, LostShardError)
        )
        if lost:
            _LOG.warning("%s (%d of %d images were not searched)", lost[0], unsearched, self.index.images)
        return replace(merge_rankings(found, top), unsearched=unsearched)

    def close(self) -> None:
        """End the workers."""
        for worker in self._workers:
            worker.close()
        self._workers = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _answer(worker: Worker) -> Ranking | LostShardError:
    try:
        return worker.answer()
    except LostShardError as error:
        return error
