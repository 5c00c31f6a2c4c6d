"""CFCD's second phase, from a first phase that is short and from one that has converged, on the embedded dataset.

The control of each is a first phase of as many epochs as both together. From the packaged trunk, with the settings of
`benchmarks.comparison_embedded`. What a killed run has finished is found again.
"""

from collections.abc import Iterator

from benchmarks.comparison_embedded import SYSTEMS, params_of
from benchmarks.embedded import make_embedded
from benchmarks.systems import Scores, Systems
from benchmarks.tables import difference_of, interval, markdown, mean, score, write
from benchmarks.values import Value
from lrcr.evaluation.protocol import SETUPS

_SEEDS = (0, 1, 2)
_FIRST = (10, 30)
_SECOND = 8
_FACTOR = 1.0


def run() -> Iterator[Value]:
    """Write `results/second_phase.md`; yield the mAP of each row, and the gain of the second phase."""
    data = make_embedded()
    systems = Systems(data.train, data.validation, data.test)
    rows = []
    for first in _FIRST:
        control, both = _evaluate(systems, first + _SECOND, 0), _evaluate(systems, first, _SECOND)
        tables, others = ([each.table for each in own] for own in (both, control))
        names = (f"first phase, {first + _SECOND} epochs", f"first phase, {first} epochs; second, {_SECOND}")
        gains = [interval(difference_of(tables, others, setup)) for setup in SETUPS]
        for name, own, cells in zip(names, (others, tables), ([""] * len(SETUPS), gains), strict=True):
            rows.append([name, *(score(own, setup) for setup in SETUPS), *cells])
            yield Value(f"{name}: mAP (medium)", mean(own, "medium"))
        yield Value(f"{names[1]}: gain (medium)", difference_of(tables, others, "medium").mean)
    head = ["", *SETUPS, *(f"difference to the first phase alone, {setup}" for setup in SETUPS)]
    write("second_phase", markdown(head, rows))


def _evaluate(systems: Systems, first: int, second: int) -> list[Scores]:
    epochs = (f"train.classification.epochs={first}", f"train.classification.fine_epochs={second}")
    return [systems.evaluate(params_of(SYSTEMS["CFCD"], _FACTOR, seed, *epochs)) for seed in _SEEDS]
