"""What each part of the context is worth on real photos: kernels, what the filter learns, how the graph acts.

Photos, halves and recipe are those of `context_photos`. Needs `LRCR_TEST_DATA`: a folder with `photos/` and `weights/`.
"""

from collections.abc import Iterator
from typing import Any

from benchmarks.bars import Value
from benchmarks.context_photos import compare_parts
from benchmarks.rows import Changes


def _average(**keys: Any) -> Changes:
    return [{"smoothing": {"kind": "average", **keys}}]


def _filter(**keys: Any) -> Changes:
    return [{"smoothing": {"kind": "learnable", "kernel": 3, "learn": "both", **keys}}]


def _graph(**keys: Any) -> Changes:
    return [{"smoothing": {"kind": "none"}, "graph": {"kind": "gcn", **keys}}]


_PARTS: dict[str, Changes] = {
    "no smoothing (kernel 1)": [{"smoothing": {"kind": "none"}}],
    **{f"average, kernel {kernel}": _average(kernel=kernel) for kernel in (3, 5, 7)},
    **{f"filter, kernel {kernel}": _filter(kernel=kernel) for kernel in (3, 5, 7)},
    "filter as it starts": [*_filter(), {"train": {"epochs": 0}}],
    "filter, one bandwidth": _filter(learn="shared"),
    "filter, no self-confidence": _filter(learn="bandwidth"),
    "filter, distance of locations": _filter(distance="spatial"),
    "filter, starting as the average": _filter(bandwidth=0.0),
    "filter, its share in attention": _filter(attention="share"),
    "graph (gate)": _graph(),
    "graph that refines features": _graph(output="refine"),
}


def run() -> Iterator[Value]:
    """The table."""
    yield from compare_parts("context_parts", _PARTS)
