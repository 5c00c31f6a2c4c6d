"""The results of a comparison of rows: a table, a curve of mAP against words per image, and values with targets."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.rows import BASELINES, CURVE, PLAIN, SELECTIVE, Runs
from benchmarks.values import PICTURES, RESULTS, Value
from lrcr.evaluation.compare import Difference
from lrcr.evaluation.seeds import Side, Spread, compare_seeds
from lrcr.report.picture import blank_figure, save_figure
from lrcr.storage.artifacts import staged_file

_SETUPS = ("medium", "hard")

Tables = Sequence[pd.DataFrame]
"""AP of each query (`lrcr.evaluation.per_query`), a table for each seed."""


def write_comparison(name: str, seeds: Sequence[dict[str, Runs]]) -> Iterator[Value]:
    """Write `results/<name>.md` and the curve; yield the difference of each learned row to the better baseline.

    Differences are taken twice: with equal numbers of descriptors, and with as many words as the average has.

    Args:
        seeds: the scores of every row, for each seed.
    """
    runs_of = {row: [seed[row] for seed in seeds] for row in seeds[0]}
    memory = _words(runs_of["average"])
    plain = {row: _plain(runs) for row, runs in runs_of.items()}
    equal = {row: _at_words(runs, memory) for row, runs in runs_of.items()}
    head = ["", "medium", "hard", "words", f"medium with τ = {SELECTIVE.tau:g}"]
    cells = {
        row: [row, *(_score(plain[row], setup) for setup in _SETUPS), f"{_words(runs):.0f}", f"{_tau(runs):.1f}"]
        for row, runs in runs_of.items()
    }
    for tables, where in ((plain, ""), (equal, f" with {memory:.0f} words")):
        best = max(BASELINES, key=lambda row: _mean(tables[row], "medium"))
        if where:
            head.append(f"medium{where}")
        head += [f"difference to {best}{where}, medium", "hard"]
        for row in runs_of:
            if where:
                cells[row].append(_score(tables[row], "medium"))
            for setup in _SETUPS:
                difference = _compare(tables[row], tables[best], setup)[1]
                cells[row].append("" if row == best else interval(difference))
                if row not in BASELINES:
                    yield Value(f"{row}: difference to {best}{where} ({setup})", difference.mean, at_least=0)
                    yield Value(f"{row}: lower end of the 95 % interval{where} ({setup})", difference.low)
    write(name, markdown(head, list(cells.values())))
    _draw_curve(PICTURES / f"{name}.png", runs_of)


def write_parts(name: str, scored: dict[str, Runs]) -> Iterator[Value]:
    """Write `results/<name>.md`: mAP of each row and its difference to the first row; yield the mAP."""
    first = next(iter(scored))
    rows = []
    for row, runs in scored.items():
        tables = [_plain([own]) for own in (runs, scored[first])]
        differences = ["" if row == first else interval(_compare(*tables, setup)[1]) for setup in _SETUPS]
        rows.append([row, *(_score(tables[0], setup) for setup in _SETUPS), f"{_words([runs]):.0f}", *differences])
        yield Value(f"{row}: mAP (medium)", _mean(tables[0], "medium"))
    write(name, markdown(["", "medium", "hard", "words", f"difference to {first}, medium", "hard"], rows))


def write(name: str, table: str) -> None:
    """Write `results/<name>.md`."""
    with staged_file(RESULTS / f"{name}.md") as temporary:
        temporary.write_text(table, encoding="utf-8")


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *rows))


def spread(over: Spread) -> str:
    """The mean ± the standard deviation over seeds."""
    return f"{over.mean:.1f}" if over.deviation is None else f"{over.mean:.1f} ± {over.deviation:.1f}"


def interval(difference: Difference) -> str:
    """The difference, and its interval in brackets."""
    return f"{difference.mean:+.1f} [{difference.low:+.1f}, {difference.high:+.1f}]"


def _plain(runs: Sequence[Runs]) -> Tables:
    return [run[PLAIN].table for run in runs]


def _at_words(runs: Sequence[Runs], words: float) -> Tables:
    """The table of each seed at an equal number of words: AP of each query, interpolated along the curve."""
    tables = []
    for run in runs:
        at = [run[setting].words for setting in CURVE]
        columns = {setup: np.stack([run[setting].table[setup] for setting in CURVE], axis=1) for setup in _SETUPS}
        interpolated = {setup: [np.interp(words, at, aps) for aps in columns[setup]] for setup in _SETUPS}
        tables.append(run[PLAIN].table.assign(**interpolated))
    return tables


def _compare(tables: Tables, others: Tables, setup: str) -> tuple[Spread, Difference]:
    a, b = ([Side("", table) for table in side] for side in (tables, others))
    comparison = compare_seeds(a, b, setup)
    assert comparison.a is not None and comparison.difference is not None, "the datasets have several landmarks"
    return comparison.a, comparison.difference


def _score(tables: Tables, setup: str) -> str:
    return spread(_compare(tables, tables, setup)[0])


def _mean(tables: Tables, setup: str) -> float:
    return float(np.mean([np.nanmean(table[setup]) for table in tables]))


def _words(runs: Sequence[Runs]) -> float:
    return float(np.mean([run[PLAIN].words for run in runs]))


def _tau(runs: Sequence[Runs]) -> float:
    return _mean([run[SELECTIVE].table for run in runs], "medium")


def _draw_curve(path: Path, runs_of: dict[str, list[Runs]]) -> None:
    figure = blank_figure(7, 4.5)
    axis = figure.add_subplot()
    for row, runs in runs_of.items():
        words = [float(np.mean([run[setting].words for run in runs])) for setting in CURVE]
        scores = [_mean([run[setting].table for run in runs], "medium") for setting in CURVE]
        axis.plot(words, scores, marker="o", label=row, linestyle="--" if row in BASELINES else "-")
    axis.set(xlabel="words per image", ylabel="mAP (medium)", title="mAP against words per image")
    axis.grid(alpha=0.3)
    axis.legend()
    save_figure(path, figure, "the curve")
