"""The parts of the context on real photos: kernels, what the filter learns, what the graph changes.

Photos, halves and recipe are those of `context_photos`. Needs `LRCR_TEST_DATA`: a folder with `photos/` and `weights/`.
"""

from collections.abc import Iterator
from typing import Any

from benchmarks.context_photos import compare_parts
from benchmarks.rows import Changes
from benchmarks.values import Value


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
    "filter, untrained": [*_filter(), {"train": {"epochs": 0}}],
    "filter, shared bandwidth": _filter(learn="shared"),
    "filter, no self-confidence": _filter(learn="bandwidth"),
    "filter, spatial distance": _filter(distance="spatial"),
    "filter, initial bandwidth 0 (average)": _filter(initial_bandwidth=0.0),
    "filter, attention × centre weight": _filter(attention="share"),
    "graph, reweight attention": _graph(),
    "graph, refine features": _graph(output="refine"),
}


def run() -> Iterator[Value]:
    """The table."""
    yield from compare_parts("context_parts", _PARTS)
