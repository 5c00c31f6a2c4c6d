"""Gain from training on the embedded dataset: the default run, its control and the trunk off the shelf.

Three seeds of whitening, training and codebook, on the same photos. What a killed run has finished is found again.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from benchmarks.embedded import make_embedded
from benchmarks.systems import Systems
from benchmarks.tables import difference_of, interval, markdown, mean, score, write
from benchmarks.values import Value
from lrcr.config.reading import load_params
from lrcr.evaluation.protocol import SETUPS

_SEEDS = (0, 1, 2)
_WITHOUT_CONTEXT = ("smoothing.kind=none", "graph.kind=none")
_ROWS = {
    "off the shelf": (*_WITHOUT_CONTEXT, "train.epochs=0"),
    "whitening trained": _WITHOUT_CONTEXT,
    "LRCR (the default run)": (),
}


def run() -> Iterator[Value]:
    """Write `results/training.md`; yield mAP (medium), its deviation and the differences to the first two rows."""
    data = make_embedded()
    systems = Systems(data.train, data.validation, data.test)
    tables = {row: [_evaluate(systems, overrides, seed) for seed in _SEEDS] for row, overrides in _ROWS.items()}
    bases, rows = list(_ROWS)[:2], []
    for row, own in tables.items():
        differences = {base: difference_of(own, tables[base], "medium") for base in bases if base != row}
        cells = (interval(differences[base]) if base in differences else "" for base in bases)
        rows.append([row, *(score(own, setup) for setup in SETUPS), *cells])
        yield Value(f"{row}: mAP (medium)", mean(own, "medium"))
    for base, difference in differences.items():
        name = f"{row}: difference to {base}, lower end of the 95 % interval"
        yield Value(name, difference.low, at_least=0 if base == bases[0] else None)
    write("training", markdown(["", *SETUPS, *(f"difference to {base}, medium" for base in bases)], rows))


def _evaluate(systems: Systems, overrides: tuple[str, ...], seed: int) -> pd.DataFrame:
    """The AP of each query after training, extraction, codebook and index, each with this seed."""
    params = load_params(Path("params.yaml"), [*overrides, f"seed={seed}", f"codebook.seed={seed}"])
    return systems.evaluate(params).table
