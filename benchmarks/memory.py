"""The memory of this process while it works."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def watch_memory() -> Iterator[list[int]]:
    """Yield a list to which the anonymous memory of this process, in bytes, is appended every 50 ms."""
    seen: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while True:
            status = Path("/proc/self/status").read_text(encoding="utf-8")
            kilobytes = next(line.split()[1] for line in status.splitlines() if line.startswith("RssAnon"))
            seen.append(int(kilobytes) * 1024)
            if done.wait(0.05):
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()
