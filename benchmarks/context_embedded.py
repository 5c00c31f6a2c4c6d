"""Context on the embedded dataset: the settings of the default run, on the same photos, for each seed and part.

In all rows the whitening is trained too, for as many steps; the average is chosen on the validation photos.
"""

from collections.abc import Iterator
from pathlib import Path

from benchmarks.embedded import make_embedded
from benchmarks.rows import NONE, Changes, Rows
from benchmarks.tables import BASELINES, write_comparison
from benchmarks.values import Value
from lrcr.config.reading import load_params

_SEEDS = (0, 1, 2)


def run() -> Iterator[Value]:
    """Write `results/context_embedded.md`; yield the differences to the better baseline."""
    params = load_params(Path("params.yaml"), ["smoothing.kind=none", "graph.kind=none"])
    data = make_embedded()
    rows = Rows(params, data.train, data.validation, data.test, codebooks=1)
    averages: dict[str, Changes] = {
        f"average {kernel}": [{"smoothing": {"kind": "average", "kernel": kernel}}] for kernel in (3, 5, 7)
    }
    no_smoothing, average = BASELINES
    filter_ = {"smoothing": {"kind": "learnable"}}
    changes: dict[str, Changes] = {
        no_smoothing: [NONE],
        average: averages[rows.choose(averages)],
        "+ learnable filter": [filter_],
        "+ gate without graph": [{"graph": {"kind": "gcn", "neighbours": 1}}],
        "+ GCN": [{"graph": {"kind": "gcn"}}],
        "+ both": [filter_, {"graph": {"kind": "gcn"}}],
        "self-attention": [{"graph": {"kind": "attention"}}],
    }
    yield from write_comparison(
        "context_embedded", {row: [rows.run(own, seed) for seed in _SEEDS] for row, own in changes.items()}
    )
