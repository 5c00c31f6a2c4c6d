"""Dividing what an index stores into parts of about equal work."""

from collections.abc import Sequence

import numpy as np

from lrcr.errors import ParamsError


def divide(sizes: Sequence[int], parts: int, found: str) -> list[tuple[int, int]]:
    """Bounds of runs of consecutive items, first and one after the last: none is empty, their sums are about equal.

    Args:
        sizes: of the items.
        parts: number of runs.
        found: what there is, for the error: `my.index has 2 segments`.

    Raises:
        ParamsError: there are more parts than items.

    Example:
        >>> divide([5, 1, 1, 1, 2], 2, "my.index has 5 segments")
        [(0, 1), (1, 5)]
    """
    if not 1 <= parts <= len(sizes):
        remedy = f"give 1 to {len(sizes)}" if len(sizes) > 1 else "leave it out"
        raise ParamsError(f"shards: {parts}, but {found}; {remedy}")
    ends, bounds = np.cumsum(sizes), [0]
    for part in range(1, parts):
        nearest = int(np.abs(ends - ends[-1] * (part / parts)).argmin()) + 1
        bounds.append(min(max(nearest, bounds[-1] + 1), len(sizes) - parts + part))
    return list(zip(bounds, [*bounds[1:], len(sizes)], strict=True))
