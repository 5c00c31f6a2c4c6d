"""Progress that a test can look at afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

from lrcr.progress import Progress


class RecordedProgress(Progress):
    """Records the description, the total and the steps of each task, in the order in which they begin."""

    def __init__(self) -> None:
        self._tasks: list[_Task] = []

    @property
    def tasks(self) -> list[tuple[str, int | None, int]]:
        return [(task.description, task.total, task.steps) for task in self._tasks]

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Progress]:
        self._tasks.append(_Task(description, total))
        yield self._tasks[-1]


class _Task(Progress):
    def __init__(self, description: str, total: int | None) -> None:
        self.description, self.total, self.steps = description, total, 0

    def advance(self, steps: int = 1) -> None:
        self.steps += steps
