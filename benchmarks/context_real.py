"""Context on real photos: one frozen trunk with ImageNet weights, and context trained on its maps of labelled photos.

Training, validation and test photos show different identities (`benchmarks.identities`). All trained rows have the same
number of steps. Needs `LRCR_TEST_DATA`: a folder with `photos/`, `more-photos/` and `weights/`.
"""

from collections.abc import Iterator

from benchmarks.identities import split_identities
from benchmarks.photos import test_data
from benchmarks.rows import NONE, PLAIN, UNTRAINED, Changes, Rows
from benchmarks.tables import write_comparison, write_parts, write_training
from benchmarks.values import Value
from lrcr.config.reading import load_params

_SEEDS = (0, 1, 2)
_CODEBOOKS = 3
"""Of each seed; a score is their mean."""

WITHOUT_CONTEXT = ("smoothing.kind=none", "graph.kind=none", "train.tuples.schedule=joint")
"""What takes the context out of the recipe; each row adds its own."""

SEPARATE = "separate"

_ROWS: dict[str, Changes] = {
    "+ learnable filter": [{"smoothing": {"kind": "learnable"}}],
    "+ gate without graph": [NONE, {"graph": {"kind": "gcn", "neighbours": 1}}],
    "+ GCN": [NONE, {"graph": {"kind": "gcn"}}],
    "+ both": [{"smoothing": {"kind": "learnable"}, "graph": {"kind": "gcn"}}],
    "self-attention": [NONE, {"graph": {"kind": "attention"}}],
}
