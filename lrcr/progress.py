"""How long work reports its progress: every slow function takes a `track` and wraps its loop in it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Tick = Callable[[], object]
"""Called after each step, to show progress."""


class Track(Protocol):
    """Yields the items unchanged and shows, wherever it pleases, how many have passed."""

    def __call__(self, items: Iterable[Item], description: str, total: int | None = None) -> Iterable[Item]:
        """Wrap `items`; `total` is their number where `len` cannot tell."""
        ...


def silent(items: Iterable[Item], description: str, total: int | None = None) -> Iterable[Item]:
    """Report nothing: the library's default."""
    return items


@contextmanager
def ticking(track: Track, description: str, total: int) -> Iterator[Tick]:
    """A function to call after each of `total` steps, for work that is no simple loop."""
    steps = iter(track(range(total), description, total))
    next(steps, None)
    yield partial(next, steps, None)


def no_tick() -> None:
    """The tick of work that nobody watches."""
