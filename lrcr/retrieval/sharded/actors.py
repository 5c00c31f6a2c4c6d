"""Workers of a sharded search that are actors of Ray, on the machines of a cluster."""

from importlib import import_module
from typing import Any

from lrcr.data.ranking import Ranking
from lrcr.errors import LrcrError, ParamsError
from lrcr.retrieval.sharded.shard import Shard, Source

_PATIENCE = 300  # seconds in which the cluster must have room for a shard and open it


class RayWorker:
    """An actor that searches a shard; see `lrcr.retrieval.sharded.shard.Worker`.

    Ray connects to the cluster of `$RAY_ADDRESS`; without it, a cluster of this machine is started. Each machine must
    have the index under the same name, in a shared folder or as a copy.

    Raises:
        ParamsError: Ray is not installed.
    """

    def __init__(self, source: Source) -> None:
        try:
            ray = import_module("ray")
        except ImportError:
            raise ParamsError("worker: RayWorker, but Ray is not installed; run pip install 'lrcr[ray]'") from None
        self._ray, self._source = ray, source
        if not ray.is_initialized():
            ray.init(logging_level="ERROR")
        self._actor = ray.remote(num_cpus=source.threads, scheduling_strategy="SPREAD")(_Actor).remote()
        self._images, self._answer = self._actor.open.remote(source), None

    def images(self) -> int:
        """See `lrcr.retrieval.sharded.shard.Worker`."""
        return int(self._get(self._images, _PATIENCE))

    def ask(self, queries: Any, top: int | None) -> None:
        """See `lrcr.retrieval.sharded.shard.Worker`."""
        self._answer = self._actor.rank.remote(queries, top)

    def answer(self) -> Ranking:
        """See `lrcr.retrieval.sharded.shard.Worker`."""
        found: Ranking = self._get(self._answer, None)
        return found

    def close(self) -> None:
        """See `lrcr.retrieval.sharded.shard.Worker`."""
        self._ray.kill(self._actor)

    def _get(self, reference: Any, seconds: float | None) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference, timeout=seconds)
        except errors.GetTimeoutError:
            raise self._source.lost(f"no machine of the cluster has opened it in {seconds:.0f} s") from None
        except errors.RayTaskError as error:
            if isinstance(error.cause, LrcrError):
                raise error.cause from None
            raise
        except errors.RayActorError as error:
            raise self._source.lost(" ".join(str(error).split())) from None


class _Actor:
    """The body of an actor; an error of its methods reaches the process that asks."""

    def open(self, source: Source) -> int:
        """Open the shard; returns the number of its images."""
        self._shard = Shard(source)
        return self._shard.images()

    def rank(self, queries: Any, top: int | None) -> Ranking:
        """See `Shard.rank`."""
        return self._shard.rank(queries, top)
