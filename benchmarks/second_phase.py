"""CFCD's second phase after a first phase that has converged, on the embedded dataset.

The control is a first phase of as many epochs as both together. From the packaged trunk, with the settings of
`benchmarks.comparison_embedded`. What a killed run has finished is found again.
"""

from collections.abc import Iterator

from benchmarks.comparison_embedded import SYSTEMS, params_of
from benchmarks.embedded import make_embedded
from benchmarks.systems import Systems
from benchmarks.tables import Tables, difference_of, interval, markdown, mean, score, write
from benchmarks.values import Value
from lrcr.evaluation.protocol import SETUPS

_SEEDS = (0, 1)
_FIRST, _SECOND = 30, 8
_FACTOR = 1.0


def run() -> Iterator[Value]:
    """Write `results/second_phase.md`; yield the mAP of both, and the gain of the second phase."""
    data = make_embedded()
    systems = Systems(data.train, data.validation, data.test)
    control, both = _tables(systems, _FIRST + _SECOND, 0), _tables(systems, _FIRST, _SECOND)
    names = (f"first phase, {_FIRST + _SECOND} epochs", f"first phase, {_FIRST} epochs; second, {_SECOND}")
    gains = [difference_of(both, control, setup) for setup in SETUPS]
    rows = []
    for name, tables, cells in zip(names, (control, both), ([""] * len(SETUPS), map(interval, gains)), strict=True):
        rows.append([name, *(score(tables, setup) for setup in SETUPS), *cells])
        yield Value(f"{name}: mAP (medium)", mean(tables, "medium"))
    yield Value(f"{names[1]}: gain (medium)", difference_of(both, control, "medium").mean)
    head = ["", *SETUPS, *(f"difference to the first phase alone, {setup}" for setup in SETUPS)]
    write("second_phase", markdown(head, rows))


def _tables(systems: Systems, first: int, second: int) -> Tables:
    """AP of each query, for each seed."""
    epochs = (f"train.classification.epochs={first}", f"train.classification.fine_epochs={second}")
    return [systems.evaluate(params_of(SYSTEMS["CFCD"], _FACTOR, seed, *epochs)).table for seed in _SEEDS]
