"""The comparison on the embedded dataset: every system from the packaged trunk, with and without training.

The factor of each system's learning rates is chosen among three by mAP on the validation set, with the first seed. What
a killed run has finished is found again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.embedded import make_embedded
from benchmarks.systems import Scores, Systems
from benchmarks.tables import difference_of, interval, markdown, mean, rounded, score, write
from benchmarks.values import Value
from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.evaluation.protocol import SETUPS

_SEEDS = (0, 1)
_FACTORS = (0.3, 1.0, 3.0)
_BASE = "HOW-ASMK as published"


@dataclass(frozen=True)
class System:
    """One row.

    Args:
        overrides: of `params.yaml`.
        rates: learning rates, before the factor; a system without any is not trained.
    """

    overrides: tuple[str, ...]
    rates: dict[str, float]


_TUPLES = (
    "train.freeze=2",
    "train.tuples={queries_per_epoch: 160, negatives: 3, batch_size: 4, scales: [1.0], lr_decay: 0.8}",
    "train.tuples.losses={contrastive: 1.0, asmk: 0.0}",
)
_LABELS = ("train.freeze=2", "train.epochs=10")
_CLASSES = (
    *_LABELS,
    *("train.validation.every=2", "train.classification.epochs=10", "train.classification.fine_epochs=0"),
)
_FINE = "train.classification.fine_epochs=4"
_TUPLE_RATES = {"train.tuples.learning_rates.backbone": 1e-5, "train.tuples.learning_rates.context": 1e-4}
_LIST_RATES = {"train.listwise.learning_rates.backbone": 1e-4, "train.listwise.learning_rates.context": 1e-3}
_CLASS_RATES = {"train.classification.learning_rate": 5e-3}
_CONTEXT_RATES = {"train.tuples.learning_rates.context": 5e-4, "train.tuples.learning_rates.whitening": 1e-3}
_DELF = (
    *("model.name=delf", *_CLASSES, _FINE, "train.classification.head=linear", "train.classification.local=0.0"),
    *("train.classification.fine_learning_rate=null", "whitening.shrinkage=0.0"),
    *(f"{key}={{multiple_assignment: 3, tau: 0.25, idf: true}}" for key in ("train.validation.search", "search")),
)
SYSTEMS = {
    "R-MAC": System(("model.name=rmac", *_TUPLES), {}),
    "GeM": System(("model.name=gem", *_TUPLES, "train.tuples.margin=0.2"), _TUPLE_RATES),
    "AP-GeM": System(("model.name=apgem", *_LABELS, "train.listwise.epochs=10"), _LIST_RATES),
    "SOLAR": System(("model.name=solar", *_TUPLES), _TUPLE_RATES),
    "CFCD": System(
        ("model.name=cfcd", *_CLASSES, _FINE),
        {**_CLASS_RATES, "train.classification.fine_learning_rate": 5e-4},
    ),
    "DELG": System(
        (
            *("model.name=delg", *_CLASSES, "train.classification.head=arcface"),
            *("train.classification.margin=0.1", "train.classification.scale=45.25"),
            # The mean square of the trunk's map is 200 times that of a ResNet, for which DELG's weight is 10.
            *("train.classification.clip_norm=10.0", "train.classification.reconstruction=0.05"),
        ),
        _CLASS_RATES,
    ),
    "DELF-ASMK": System(_DELF, _CLASS_RATES),
    "DELF-R-ASMK": System((*_DELF, "extract.regions=detected"), _CLASS_RATES),
    _BASE: System((*_TUPLES, "smoothing.kind=average", "graph.kind=none", "backbone.crop_border=0"), _TUPLE_RATES),
    "HOW-ASMK, border cropped, no smoothing": System(
        (*_TUPLES, "smoothing.kind=none", "graph.kind=none"), _TUPLE_RATES
    ),
    "LRCR-ASMK": System((), _CONTEXT_RATES),
    "FIRe-ASMK": System(
        ("model.name=fire", *_TUPLES, "train.tuples.mirror=true", "train.pretrain.epochs=10"), _TUPLE_RATES
    ),
}


def run() -> Iterator[Value]:
    """Write `results/comparison_embedded.md`; yield mAP (medium), the gain from training, and the cost of each row."""
    data = make_embedded()
    systems = Systems(data.train, data.validation, data.test)
    factors = {row: _choose(systems, system) for row, system in SYSTEMS.items()}
    trained = {row: _evaluate(systems, system, factors[row]) for row, system in SYSTEMS.items()}
    untrained = {row: _evaluate(systems, system, None) for row, system in SYSTEMS.items()}
    costs = list(next(iter(trained.values()))[0].cost)
    head = ["", *SETUPS, f"difference to {_BASE}, medium", "learning rates ×", "not trained, medium", "gain", *costs]
    tables = {row: [each.table for each in own] for row, own in trained.items()}
    rows = []
    for row, own in tables.items():
        start, cost = [each.table for each in untrained[row]], trained[row][0].cost
        cells = [row, *(score(own, setup) for setup in SETUPS)]
        cells.append("" if row == _BASE else interval(difference_of(own, tables[_BASE], "medium")))
        gain = None if factors[row] is None else difference_of(own, start, "medium")
        cells += [f"{factors[row]:g}" if gain else "", score(start, "medium"), interval(gain) if gain else ""]
        rows.append([*cells, *map(rounded, cost.values())])
        yield Value(f"{row}: mAP (medium)", mean(own, "medium"))
        if gain:
            yield Value(f"{row}: gain from training (medium)", gain.mean, at_least=0)
        yield from (Value(f"{row}: {what}", value) for what, value in cost.items())
    write("comparison_embedded", markdown(head, rows))


def _choose(systems: Systems, system: System) -> float | None:
    """The factor of the learning rates with the best mAP on the validation set; None: the system is not trained."""
    if not system.rates:
        return None
    return max(_FACTORS, key=lambda factor: systems.validate(params_of(system, factor, _SEEDS[0])))


def _evaluate(systems: Systems, system: System, factor: float | None) -> list[Scores]:
    """A system with each seed; without a factor it is not trained."""
    return [systems.evaluate(params_of(system, factor, seed)) for seed in _SEEDS]


def params_of(system: System, factor: float | None, seed: int, *more: str) -> Params:
    """The params of a system; without a factor it is not trained.

    Args:
        more: overrides that come last.
    """
    rates = [f"{key}={rate * (factor or 1.0)!r}" for key, rate in system.rates.items()]
    epochs = () if factor is not None else ("train.epochs=0",)
    overrides = [*system.overrides, *rates, *epochs, f"seed={seed}", f"codebook.seed={seed}", *more]
    return load_params(Path("params.yaml"), overrides)
