"""How long work reports its progress: every slow function takes a `Progress`, which by default shows nothing."""

from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


class Progress:
    """Progress that is shown nowhere; a subclass shows it.

    Example:
        >>> progress = Progress()
        >>> for photo in progress.over(["a.jpg", "b.jpg"], "describe"):
        ...     pass
        >>> with progress.task("compute maps", 2) as task:
        ...     task.advance(2)
    """

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator["Progress"]:
        """Show a task of `total` steps for the length of the block; its steps are counted by `advance`."""
        yield self

    def advance(self, steps: int = 1) -> None:
        """Count steps of this task."""

    def over(self, items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
        """Yield the items, a step each; `total` is their number where `len` cannot tell."""
        if total is None and isinstance(items, Sized):
            total = len(items)
        with self.task(description, total) as task:
            for item in items:
                yield item
                task.advance()


SILENT = Progress()
"""Shows nothing: the default everywhere in the library."""
