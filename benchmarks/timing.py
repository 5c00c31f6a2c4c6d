"""Times of two programs on the same machine, taken in turns so that other load on the machine affects both."""

import time
from collections.abc import Callable
from statistics import median


def seconds(work: Callable[[], object], repeats: int = 1) -> float:
    """Median time of `repeats` calls."""
    return median(_once(work) for _ in range(repeats))


def ratio(slow: Callable[[], object], fast: Callable[[], object], *, rounds: int, fast_repeats: int = 5) -> float:
    """Time of `slow` divided by time of `fast`: the median over rounds, in each of which both are timed."""
    fast()  # compiles and warms up
    return median(seconds(slow) / seconds(fast, fast_repeats) for _ in range(rounds))


def _once(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
