"""One writer of an index at a time."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout

from lrcr.errors import ArtifactError
from lrcr.storage.artifacts import staged_folder

LOCK = ".lock"


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the lock of an index folder; readers do not need it. The system releases it when the process ends.

    Raises:
        ArtifactError: another writer holds it, or the folder is missing or cannot be written.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ArtifactError(f"{folder}: another process is changing it; try again when that has ended") from None
    except OSError as error:
        raise ArtifactError(f"{folder}: cannot be changed ({error.strerror}); name an index of your own") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def replaced_index(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes the index `folder`, as its only writer if there is one already.

    A symbolic link stays one: what it leads to is replaced.

    Raises:
        ArtifactError: another writer is changing the index.
    """
    folder = folder.resolve()
    with only_writer(folder) if folder.exists() else nullcontext(), staged_folder(folder) as temporary:
        yield temporary
