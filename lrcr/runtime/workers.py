"""Worker processes of one machine."""

import os
import threading
import time

from lrcr.errors import ParamsError


def worker_count() -> int:
    """How many processes extract together: `$LRCR_WORKERS`, 1 if it is not set.

    Raises:
        ParamsError: it is not a whole number above 0.
    """
    given = os.environ.get("LRCR_WORKERS") or "1"
    if not given.isdecimal() or int(given) < 1:
        raise ParamsError(f"LRCR_WORKERS: {given!r} is no number of processes; give 1 or more")
    return int(given)


def end_with(parent: int) -> None:
    """Let this process end with the one it works for: `kill -9` tells it nothing, and it would wait for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
