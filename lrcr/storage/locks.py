"""Locks by which runs wait for each other."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

_log = logging.getLogger(__name__)


@contextmanager
def wait_for_lock(file: Path, waiting: str) -> Iterator[None]:
    """Hold a lock; if another process holds it, log a warning and wait. The system releases it when the process ends.

    On a file system without locks nothing is locked, and a warning says so.

    Args:
        file: of the lock, made if it does not exist, in a folder that exists; the block may remove it.
        waiting: the warning.
    """
    lock = FileLock(file, fallback_to_soft=False)  # what replaces it may outlive the process
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _log.warning("%s", waiting)
        lock.acquire()
    except OSError as error:
        _log.warning("%s: cannot be locked (%s); do not run the same work twice at a time", file, error.strerror)
    try:
        yield
    finally:
        lock.release()
