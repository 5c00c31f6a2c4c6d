"""What it is worth to leave the border of the map aside, where the network sees the zeros that it is padded with.

Nothing is learned here but the whitening. Photos and halves are those of `context_photos`. Needs `LRCR_TEST_DATA`: a
folder with `photos/` and `weights/`.
"""

from collections.abc import Iterator

from benchmarks.bars import Value
from benchmarks.context_photos import compare_parts
from benchmarks.rows import Changes

_ROWS: dict[str, Changes] = {
    f"{name}, border {where}": [{"smoothing": smoothing, "backbone": {"border": border}, "train": {"epochs": 0}}]
    for where, border in (("kept", 0), ("left aside", 1))
    for name, smoothing in (("no smoothing", {"kind": "none"}), ("average", {"kind": "average", "kernel": 3}))
}


def run() -> Iterator[Value]:
    """The table."""
    yield from compare_parts("border", _ROWS)
