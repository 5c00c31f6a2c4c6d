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
        if not shared:
            shutil.rmtree(_finished(folder), ignore_errors=True)  # of a run that was killed while it removed it
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        if not kept:
            remove_state(folder)


def remove_state(folder: Path) -> None:
    """Remove a folder of unfinished work whose step has finished.

    It gets another name first: if this is killed, no later run takes what is left for work to continue.
    """
    finished = _finished(folder)
    folder.rename(finished)
    shutil.rmtree(finished, ignore_errors=True)  # without locks another run may remove it too


def _finished(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.finished")


def take_finished(source: Path, target: Path) -> None:
    """Take a file or folder from unfinished work into an artifact; it stays in both until the work is removed.

    So a kill before the artifact is complete loses nothing. The files become links if the file system allows, and
    copies otherwise. They must not be changed afterwards.

    Args:
        target: does not exist.
    """
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_link)
    else:
        _link(source, target)


def _link(source: Path | str, target: Path | str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


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
