"""Gain from cropping the border of the feature map, where the features depend on zero padding.

Only the whitening is learned. Photos and halves are those of `context_photos`. Needs `LRCR_TEST_DATA`: a folder with
`photos/` and `weights/`.
"""

from collections.abc import Iterator

from benchmarks.context_photos import compare_parts
from benchmarks.rows import Changes
from benchmarks.values import Value

_ROWS: dict[str, Changes] = {
    f"{name}, border {state}": [
        {"smoothing": smoothing, "backbone": {"crop_border": crop_border}, "train": {"epochs": 0}}
    ]
    for state, crop_border in (("kept", 0), ("cropped", 1))
    for name, smoothing in (("no smoothing", {"kind": "none"}), ("average", {"kind": "average", "kernel": 3}))
}


def run() -> Iterator[Value]:
    """The table."""
    yield from compare_parts("border", _ROWS)
