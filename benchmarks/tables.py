"""The results of a comparison of rows: a table, a curve of mAP against words per image, and values with targets."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.rows import CURVE, PLAIN, SELECTIVE, Run
from benchmarks.values import PICTURES, RESULTS, Value
from lrcr.evaluation.compare import Difference
from lrcr.evaluation.seeds import Comparison, Side, Spread, compare_seeds
from lrcr.report.picture import blank_figure, save_figure
from lrcr.storage.artifacts import staged_file

_SETUPS = ("medium", "hard")

BASELINES = ("no smoothing", "average")

Runs = Sequence[Run]
"""A row, with each seed."""

Tables = Sequence[pd.DataFrame]
"""AP of each query (`lrcr.evaluation.per_query`), a table for each seed."""


def write_comparison(name: str, runs_of: dict[str, Runs]) -> Iterator[Value]:
    """Write `results/<name>.md` and the curve; yield the difference of each learned row to the better baseline.

    Differences are taken twice: with equal numbers of descriptors, and with as many words as the average has, unless
    the curve of a row does not reach that number. The row `+ both` is also compared with the rows of its parts.

    Args:
        runs_of: each row with every seed.
    """
    memory = _words(runs_of["average"])
    plain = {row: _plain(runs) for row, runs in runs_of.items()}
    equal = {row: _at_words(runs, memory) for row, runs in runs_of.items() if _reaches(runs, memory)}
    setups = _graded(runs_of)
    head = ["", *setups, "words", f"medium with τ = {SELECTIVE.tau:g}"]
    cells = {
        row: [row, *(score(plain[row], setup) for setup in setups), f"{_words(runs):.0f}", f"{_tau(runs):.1f}"]
        for row, runs in runs_of.items()
    }
    for tables, where in ((plain, ""), (equal, f" with {memory:.0f} words")):
        best = max((row for row in BASELINES if row in tables), key=lambda row: mean(tables[row], "medium"))
        if where:
            head.append(f"medium{where}")
        head += [f"difference to {best}{where}, medium", *setups[1:]]
        for row in runs_of:
            if row not in tables:
                cells[row] += [""] * (1 + len(setups))
                continue
            if where:
                cells[row].append(score(tables[row], "medium"))
            for setup in setups:
                cells[row].append("" if row == best else interval(difference_of(tables[row], tables[best], setup)))
                if row not in BASELINES:
                    difference = f"{row}: difference to {best}{where} ({setup})"
                    yield from _values(difference, tables[row], tables[best], setup)
    for part in ("+ learnable filter", "+ GCN"):
        yield from _values(f"+ both: difference to {part} (medium)", plain["+ both"], plain[part], "medium")
    write(name, markdown(head, list(cells.values())))
    _draw_curve(PICTURES / f"{name}.png", runs_of)


def write_parts(name: str, runs_of: dict[str, Runs]) -> Iterator[Value]:
    """Write `results/<name>.md`: mAP of each row and its difference to the first row; yield the mAP."""
    first, setups = next(iter(runs_of)), _graded(runs_of)
    rows = []
    for row, runs in runs_of.items():
        tables, others = _plain(runs), _plain(runs_of[first])
        differences = ["" if row == first else interval(difference_of(tables, others, setup)) for setup in setups]
        rows.append([row, *(score(tables, setup) for setup in setups), f"{_words(runs):.0f}", *differences])
        yield Value(f"{row}: mAP (medium)", mean(tables, "medium"))
    write(name, markdown(["", *setups, "words", f"difference to {first}, medium", *setups[1:]], rows))


def write_training(name: str, runs_of: dict[str, Runs]) -> Iterator[Value]:
    """Write `results/<name>.md`: the validation mAP of each row and seed after its epochs; yield what it has changed.

    In parentheses follow the training loss and, if it is measured, the loss of the validation photos. The values are
    means over the seeds; training must not lose more than half a point.
    """
    # A later phase begins with the epoch that ended the one before, without a loss: the first entry counts.
    logs = {
        row: [{int(values["epoch"]): values for values in reversed(_validated(run))} for run in runs]
        for row, runs in runs_of.items()
    }
    epochs = sorted({epoch for own in logs.values() for log in own for epoch in log})
    rows = [
        [row, str(seed), *(_epoch(log.get(epoch)) for epoch in epochs)]
        for row, own in logs.items()
        for seed, log in enumerate(own)
    ]
    write(name, markdown(["", "seed", *(f"epoch {epoch}" for epoch in epochs)], rows))
    for row, own in logs.items():
        for epoch in epochs[1:]:
            changes = [log[epoch]["validation_map"] - log[0]["validation_map"] for log in own if epoch in log]
            if changes:
                change = float(np.mean(changes))
                yield Value(f"{row}: validation mAP after epoch {epoch}, change from the start", change, at_least=-0.5)


def _graded(runs_of: dict[str, Runs]) -> list[str]:
    """The setups in which a query has a positive."""
    table = next(iter(runs_of.values()))[0].scored[PLAIN].table
    return [setup for setup in _SETUPS if table[setup].notna().any()]


def _validated(run: Run) -> list[dict[str, float]]:
    return [values for values in run.log if "validation_map" in values]


def _epoch(values: dict[str, float] | None) -> str:
    if values is None:
        return ""
    losses = [f"{values[name]:.2f}" for name in ("loss", "validation_loss") if name in values]
    return f"{values['validation_map']:.1f}" + (f" ({', '.join(losses)})" if losses else "")


def write(name: str, table: str) -> None:
    """Write `results/<name>.md`."""
    with staged_file(RESULTS / f"{name}.md") as temporary:
        temporary.write_text(table, encoding="utf-8")


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *rows))


def rounded(value: float) -> str:
    """A value with three digits, or as a whole number; empty if there is none."""
    return "" if math.isnan(value) else f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def spread(over: Spread) -> str:
    """The mean ± the standard deviation over seeds."""
    return f"{over.mean:.1f}" if over.deviation is None else f"{over.mean:.1f} ± {over.deviation:.1f}"


def interval(difference: Difference) -> str:
    """The difference, and its interval in brackets."""
    return f"{difference.mean:+.1f} [{difference.low:+.1f}, {difference.high:+.1f}]"


def _plain(runs: Runs) -> Tables:
    return [run.scored[PLAIN].table for run in runs]


def _at_words(runs: Runs, words: float) -> Tables:
    """The table of each seed at an equal number of words: AP of each query, interpolated along the curve."""
    tables = []
    for run in runs:
        at = [run.scored[setting].words for setting in CURVE]
        columns = {setup: np.stack([run.scored[own].table[setup] for own in CURVE], axis=1) for setup in _SETUPS}
        interpolated = {setup: [np.interp(words, at, aps) for aps in columns[setup]] for setup in _SETUPS}
        tables.append(run.scored[PLAIN].table.assign(**interpolated))
    return tables


def _reaches(runs: Runs, words: float) -> bool:
    """Whether the curve of each seed reaches a number of words."""
    return all(run.scored[CURVE[0]].words <= words <= run.scored[CURVE[-1]].words for run in runs)


def _values(name: str, tables: Tables, others: Tables, setup: str) -> Iterator[Value]:
    """A difference, whose interval should lie above 0, and the lower end of its interval."""
    difference = difference_of(tables, others, setup)
    yield Value(name, difference.mean)
    yield Value(f"{name}: lower end of the 95 % interval", difference.low, at_least=0)


def _compare(tables: Tables, others: Tables, setup: str) -> Comparison:
    a, b = ([Side("", table) for table in side] for side in (tables, others))
    return compare_seeds(a, b, setup)


def difference_of(tables: Tables, others: Tables, setup: str) -> Difference:
    """The difference in mAP over common seeds, with its interval over landmarks and seeds."""
    difference = _compare(tables, others, setup).difference
    assert difference is not None, "the datasets have several landmarks"
    return difference


def score(tables: Tables, setup: str) -> str:
    """The mean mAP ± its standard deviation over seeds; empty if no query has a positive in this setup."""
    scored = _compare(tables, tables, setup).a
    return "" if scored is None else spread(scored)


def mean(tables: Tables, setup: str) -> float:
    """The mean mAP over seeds."""
    return float(np.mean([np.nanmean(table[setup]) for table in tables]))


def _words(runs: Runs) -> float:
    return float(np.mean([run.scored[PLAIN].words for run in runs]))


def _tau(runs: Runs) -> float:
    return mean([run.scored[SELECTIVE].table for run in runs], "medium")


def _draw_curve(path: Path, runs_of: dict[str, Runs]) -> None:
    figure = blank_figure(7, 4.5)
    axis = figure.add_subplot()
    for row, runs in runs_of.items():
        words = [float(np.mean([run.scored[setting].words for run in runs])) for setting in CURVE]
        scores = [mean([run.scored[setting].table for run in runs], "medium") for setting in CURVE]
        axis.plot(words, scores, marker="o", label=row, linestyle="--" if row in BASELINES else "-")
    axis.set(xlabel="words per image", ylabel="mAP (medium)", title="mAP against words per image")
    axis.grid(alpha=0.3)
    axis.legend()
    save_figure(path, figure, "the curve")
