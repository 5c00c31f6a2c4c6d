"""Workers of a sharded search that are processes of this machine."""

import multiprocessing
import signal
from multiprocessing.connection import Connection
from typing import Any

from lrcr.data.ranking import Ranking
from lrcr.errors import LrcrError
from lrcr.retrieval.sharded.shard import Shard, Source

_END = 10  # seconds in which a process must end


class ProcessWorker:
    """A process that searches a shard; see `lrcr.retrieval.sharded.shard.Worker`.

    It ends when it is closed, when this object is no longer used, or with this process.
    """

    def __init__(self, source: Source) -> None:
        context = multiprocessing.get_context("spawn")  # a forked process would lack the threads of numba and faiss
        self._source = source
        self._connection, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, source), daemon=True)
        self._process.start()
        other.close()  # so that the end of the process is the end of the connection
        self._asked = 0

    def images(self) -> int:
        """See `lrcr.retrieval.sharded.shard.Worker`."""
        return int(self._receive(0))

    def ask(self, queries: Any, top: int | None) -> None:
        """See `lrcr.retrieval.sharded.shard.Worker`."""
        self._asked += 1
        try:
            self._connection.send((self._asked, queries, top))
        except OSError:
            return  # the process has ended, which `answer` tells

    def answer(self) -> Ranking:
        """See `lrcr.retrieval.sharded.shard.Worker`."""
        found: Ranking = self._receive(self._asked)
        return found

    def close(self) -> None:
        """See `lrcr.retrieval.sharded.shard.Worker`."""
        self._connection.close()
        self._process.join(_END)
        self._process.kill()

    def _receive(self, number: int) -> Any:
        """The answer of this number; earlier ones, which an interrupt left there, are dropped."""
        given = -1
        while given != number:
            try:
                given, found = self._connection.recv()
            except (EOFError, OSError):
                self._process.join(_END)
                raise self._source.lost(_cause(self._process.exitcode)) from None
        if isinstance(found, LrcrError):
            raise found
        return found


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        return f"its process was killed by {signal.Signals(-code).name} (by a user, or because memory ran out)"
    return f"its process ended with exit code {code}"


def _serve(connection: Connection, source: Source) -> None:
    """The body of the process: the answer 0 is the number of images; then each question is answered by its number."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the process that asks, and so the connection
    try:
        shard = Shard(source)
        connection.send((0, shard.images()))
        while True:
            number, queries, top = connection.recv()
            connection.send((number, _rank(shard, queries, top)))
    except LrcrError as error:
        connection.send((0, error))
    except (EOFError, OSError):
        return  # the process that asks has closed the connection


def _rank(shard: Shard, queries: Any, top: int | None) -> Ranking | LrcrError:
    try:
        return shard.rank(queries, top)
    except LrcrError as error:
        return error
