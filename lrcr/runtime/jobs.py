"""Jobs: files that are made from items, and the interface of what runs them.

The contents of a file depend on its own items only, so the result is the same whoever makes it. A job is done when its
file exists.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lrcr.progress import Progress


class Make(Protocol):
    """Writes a file, or a folder, from some items; it appears whole or not at all. Can be pickled."""

    def __call__(self, items: Sequence[Any], file: Path, progress: Progress, /) -> None:
        """Write `file` and call `progress.advance` once for each item."""
        ...


@dataclass(frozen=True)
class Job:
    """A file to write, the items that it is made from, and its number among all jobs of a step."""

    items: Sequence[Any]
    file: Path
    number: int = 0


class Executor(Protocol):
    """Runs jobs."""

    def map(self, make: Make, jobs: Sequence[Job], progress: Progress) -> None:
        """Write the file of every job.

        Args:
            progress: one step for each item.

        Raises:
            LrcrError: `make` raised it, or a process or machine that ran a job was lost.
            ShareMade: this process makes only a share of the jobs, and has made it.
        """
        ...
