"""What a comparison of rows tells: a table, a curve of mAP against words an image, and values beside their bars."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.bars import RESULTS, Value
from benchmarks.rows import BASELINES, CURVE, PLAIN, SELECTIVE, Runs
from lrcr.artifacts import staged_file
from lrcr.evaluation.compare import Difference
from lrcr.evaluation.seeds import Side, Spread, compare_seeds
from lrcr.report.picture import blank_figure, save_figure

_SETUPS = ("medium", "hard")


def tell(name: str, seeds: Sequence[dict[str, Runs]]) -> Iterator[Value]:
    """Write `results/<name>.md` and `.png`; yield each learned row's difference to the better baseline.

    Args:
        seeds: of each seed, what every row has scored.
    """
    every = {row: [seed[row] for seed in seeds] for row in seeds[0]}
    best = max(BASELINES, key=lambda row: _mean(every[row], "medium"))
    for row in every:
        if row not in BASELINES:
            for setup in _SETUPS:
                difference = _compare(every[row], every[best], setup)[1]
                yield Value(f"{row}: difference to {best} ({setup})", difference.mean, at_least=0)
                yield Value(f"{row}: lower end of its 95 % interval ({setup})", difference.low)
    with staged_file(RESULTS / f"{name}.md") as temporary:
        temporary.write_text(_table(every, best), encoding="utf-8")
    _draw_curve(RESULTS / f"{name}.png", every)


def _table(every: dict[str, list[Runs]], best: str) -> str:
    """A table in Markdown: each row's mAP ± deviation over seeds, its words, its difference to the better baseline.

    Equal memory is that of the average.
    """
    memory = _words(every["average"])
    head = ["", "medium", "hard", "words", f"difference to {best}, medium", "hard", f"medium at {memory:.0f} words"]
    lines = []
    for row, runs in every.items():
        medium, hard = (_compare(runs, every[best], setup) for setup in _SETUPS)
        differences = ["", ""] if row == best else [interval(difference) for _, difference in (medium, hard)]
        tau = float(np.mean([np.nanmean(run[SELECTIVE].table["medium"]) for run in runs]))
        cells = [row, spread(medium[0]), spread(hard[0]), f"{_words(runs):.0f}", *differences]
        lines.append([*cells, f"{_at_words(runs, memory):.1f}", f"{tau:.1f}"])
    return markdown([*head, f"medium with τ = {SELECTIVE.tau:g}"], lines)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *rows))


def _compare(runs: Sequence[Runs], others: Sequence[Runs], setup: str) -> tuple[Spread, Difference]:
    sides = ([Side("", run[PLAIN].table) for run in side] for side in (runs, others))
    comparison = compare_seeds(*sides, setup)
    assert comparison.a is not None and comparison.difference is not None, "these datasets have many landmarks"
    return comparison.a, comparison.difference


def spread(over: Spread) -> str:
    """The mean ± the deviation over seeds."""
    return f"{over.mean:.1f}" if over.deviation is None else f"{over.mean:.1f} ± {over.deviation:.1f}"


def interval(difference: Difference) -> str:
    """The difference, and its interval in brackets."""
    return f"{difference.mean:+.1f} [{difference.low:+.1f}, {difference.high:+.1f}]"


def _mean(runs: Sequence[Runs], setup: str) -> float:
    return float(np.mean([np.nanmean(run[PLAIN].table[setup]) for run in runs]))


def _curve(runs: Sequence[Runs]) -> tuple[list[float], list[float]]:
    """Words an image and mAP (medium), a point for each number of descriptors."""
    words = [float(np.mean([run[setting].words for run in runs])) for setting in CURVE]
    return words, [float(np.mean([np.nanmean(run[at].table["medium"]) for run in runs])) for at in CURVE]


def _words(runs: Sequence[Runs]) -> float:
    return float(np.mean([run[PLAIN].words for run in runs]))


def _at_words(runs: Sequence[Runs], words: float) -> float:
    """The mAP (medium) at equal memory, interpolated on the curve."""
    return float(np.interp(words, *_curve(runs)))


def _draw_curve(path: Path, every: dict[str, list[Runs]]) -> None:
    figure = blank_figure(7, 4.5)
    axis = figure.add_subplot()
    for row, runs in every.items():
        axis.plot(*_curve(runs), marker="o", label=row, linestyle="--" if row in BASELINES else "-")
    axis.set(xlabel="words an image", ylabel="mAP (medium)", title="mAP against memory")
    axis.grid(alpha=0.3)
    axis.legend()
    save_figure(path, figure, "a curve")
