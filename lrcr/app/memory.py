"""A memory of bounded size that forgets what was not used for the longest time."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Memory(Generic[Value]):
    """Keeps values by key, for several threads.

    Args:
        most: the sum of the sizes of all values that are kept; the newest value is kept in any case.
        size: of a value.
    """

    def __init__(self, most: int, size: Callable[[Value], int]) -> None:
        self._most, self._size, self._sum = most, size, 0
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> Value | None:
        """The value of a key, if it is still kept."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def keep(self, key: Hashable, value: Value) -> None:
        """Keep a value, and forget the oldest ones if there is not enough room."""
        with self._lock:
            if key in self._values:
                self._sum -= self._size(self._values.pop(key))
            self._values[key] = value
            self._sum += self._size(value)
            while self._sum > self._most and len(self._values) > 1:
                self._sum -= self._size(self._values.popitem(last=False)[1])
