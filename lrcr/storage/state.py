"""Unfinished work of a step: a folder outside the project, which the step finds again after it was killed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from lrcr.storage.artifacts import fingerprint
from lrcr.storage.locks import wait_for_lock
from lrcr.storage.sources import source_fingerprint


def state_root() -> Path:
    """The folder of all unfinished work: `$LRCR_STATE`, or the folder `lrcr` in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("LRCR_STATE") or cache / "lrcr")


@contextmanager
def state_folder(step: str, *identity: Any, shared: bool = False, kept: bool = False) -> Iterator[Path]:
    """Yield the folder for the unfinished work of a step on given inputs; it is removed when the block ends.

    If the block raises an error, the folder stays. Another run on the same inputs waits until this one has left the
    block. The name of the folder is a hash of the inputs and of the step's source code, so that work begun by another
    version of the code is never continued.

    Args:
        step: name of the step's module; its source code includes the modules of lrcr that it imports.
        identity: JSON-able values, such as fingerprints of the inputs.
        shared: this process is one of several that share the work, and does not wait for the others.
        kept: the folder stays in any case.
    """
    folder = state_root() / fingerprint(source_fingerprint(step), *identity)
    with nullcontext() if shared else only_run(folder):
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        if not kept:
            shutil.rmtree(folder)


@contextmanager
def only_run(folder: Path) -> Iterator[None]:
    """Keep other runs from a folder of unfinished work, whether it exists or not; wait until another has left it.

    Args:
        folder: below `state_root()`, with a name of its own.
    """
    lock = state_root() / f"{folder.name}.lock"  # in a folder that is never removed
    lock.parent.mkdir(parents=True, exist_ok=True)
    with wait_for_lock(lock, f"{folder}: another run does the same work; waiting until it has finished"):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
