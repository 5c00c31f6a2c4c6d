"""A waiting line of bounded length before one or a few threads: the model answers requests in order."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from lrcr.app.errors import BusyError, LateError

Answer = TypeVar("Answer")


class Line:
    """Runs functions in threads of its own, in the order in which they come.

    Args:
        name: of what is waited for, in messages.
        threads: that work at one time.
        waiting: most functions that wait.
        seconds: after which a caller gets no answer. What already runs ends by itself.
    """

    def __init__(self, name: str, threads: int, waiting: int, seconds: float) -> None:
        self._name, self._seconds = name, seconds
        self._most, self._inside = threads + waiting, 0
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"lrcr {name}")

    async def run(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        """What the function returns or raises.

        Raises:
            BusyError: as many functions wait as may.
            LateError: there is no answer in time.
        """
        with self._lock:
            if self._inside >= self._most:
                raise BusyError(f"{self._name}: {self._most} requests are waiting already; try again in a moment")
            self._inside += 1
        future = self._pool.submit(function, *arguments)
        future.add_done_callback(self._leave)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), self._seconds)
        except TimeoutError:
            raise LateError(f"{self._name}: no answer within {self._seconds:g} s; try again later") from None

    def _leave(self, _: "Future[Any]") -> None:
        with self._lock:
            self._inside -= 1

    def close(self) -> None:
        """End the threads; what waits is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)
