"""The comparison on real photos: every system with the same trunk and budget (`benchmarks.real_rows`), and re-ranking.

Training, validation and test photos show different identities (`benchmarks.identities`). mAP (medium) is measured on
the test identities; easy and hard on the graded queries of `photos/`, the validation photos, by which the epoch and the
share of a blend are chosen. Needs `LRCR_TEST_DATA`: a folder with `photos/`, `more-photos/` and `weights/`. The table
is written after each row, and what a killed run has finished is found again.
"""

from collections.abc import Iterator

import pandas as pd

from benchmarks.identities import add_graded_queries, is_graded, split_identities
from benchmarks.real_rows import BASE, BORDER_CROPPED, RERANKED, SYSTEMS, TRUNKS, Trunk, params_of
from benchmarks.reranked import rerank
from benchmarks.systems import Scores, Systems
from benchmarks.tables import difference_of, interval, markdown, mean, rounded, score, write
from benchmarks.values import Value
from lrcr.config.rerank import RerankParams

_SEEDS = (0, 1)
_GAINING = ("HOW + geometric", f"{BORDER_CROPPED}, + geometric", "LRCR + geometric")
_KEPT = {row for reranking in RERANKED.values() for row in (reranking.first, reranking.by)}
_COSTS = ("bytes per image", "images/s", "ms per query")
_HEAD = ["", "medium", f"difference to {BASE}, medium", "to its first list", "easy, graded", "hard, graded", *_COSTS]


def run() -> Iterator[Value]:
    """Write a table for each trunk; yield the mAP of each row, the gains, and the times of re-ranked queries."""
    split = split_identities()
    systems = Systems(split.train, split.validation, add_graded_queries(split))
    for name, trunk in TRUNKS.items():
        comparison = Comparison(name)
        for seed in _SEEDS:
            _run_seed(systems, trunk, seed, comparison)
        yield from comparison.values()


class Comparison:
    """The rows of a table, each with its scores of the seeds so far.

    Args:
        name: of the table.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows: dict[str, list[Scores]] = {}
        self.steps: dict[str, RerankParams] = {}

    def add(self, row: str, scores: Scores) -> None:
        """Add the scores of the next seed to a row, and write the table."""
        self.rows.setdefault(row, []).append(scores)
        write(self.name, markdown(_HEAD, [self._cells(row) for row in self.rows]))

    def values(self) -> Iterator[Value]:
        """The values of the table, with their targets."""
        tested = {row: _tables(scores, graded=False) for row, scores in self.rows.items()}
        for row, tables in tested.items():
            yield Value(f"{self.name}: {row}: mAP (medium)", mean(tables, "medium"))
        best = max(tested, key=lambda row: mean(tested[row], "medium"))
        difference = difference_of(tested[best], tested[BASE], "medium")
        yield Value(f"{self.name}: best row, {best}: difference to {BASE} (medium)", difference.mean, at_least=5)
        for row in _GAINING:
            gain = difference_of(tested[row], tested[RERANKED[row].first], "medium")
            yield Value(f"{self.name}: {row}: gain over its first list (medium)", gain.mean)
            yield Value(f"{self.name}: {row}: gain, lower end of the 95 % interval", gain.low, at_least=0)
        for row in (row for row in RERANKED if row in tested):
            slowest = max(scores.cost["ms per query"] for scores in self.rows[row])
            yield Value(f"{self.name}: {row}: ms per query", slowest, at_most=600)

    def _cells(self, row: str) -> list[str]:
        scores = self.rows[row]
        medium, graded = score(_tables(scores, graded=False), "medium"), _tables(scores, graded=True)
        difference = "" if row == BASE else self._difference(row, BASE)
        gain = self._difference(row, RERANKED[row].first) if row in RERANKED else ""
        costs = (rounded(scores[0].cost[name]) for name in _COSTS)
        title = f"{row} ({_setting(self.steps[row])})" if row in self.steps else row
        return [title, medium, difference, gain, score(graded, "easy"), score(graded, "hard"), *costs]

    def _difference(self, row: str, other: str) -> str:
        """The difference of two rows on the test identities, over the seeds that both have."""
        tables, others = (_tables(self.rows[name], graded=False) for name in (row, other))
        common = min(len(tables), len(others))
        return interval(difference_of(tables[:common], others[:common], "medium"))


def _run_seed(systems: Systems, trunk: Trunk, seed: int, comparison: Comparison) -> None:
    """The systems, then the re-ranked rows."""
    for row in (row for row in SYSTEMS if row not in trunk.left_out):
        comparison.add(row, systems.evaluate(params_of(trunk, row, seed), keep=row in _KEPT))
    for row, reranking in RERANKED.items():
        if row in trunk.left_out:
            continue
        steps = (comparison.steps[row],) if row in comparison.steps else reranking.steps
        first, by = (params_of(trunk, name, seed) for name in (reranking.first, reranking.by or reranking.first))
        found = rerank(systems, first, by, steps)
        comparison.steps[row] = found.step
        comparison.add(row, found.scores)


def _tables(scores: list[Scores], *, graded: bool) -> list[pd.DataFrame]:
    """The APs of the graded queries, or of the others, of each seed."""
    return [each.table[is_graded(each.table) == graded].reset_index(drop=True) for each in scores]


def _setting(step: RerankParams) -> str:
    """The setting of a step that was chosen."""
    match step.kind:
        case "geometric":
            return f"min_similarity {step.min_similarity:g}"
        case "blend":
            return f"share {step.share:g}"
        case "words" | "expansion":
            return f"{step.images} images"
        case _:
            return f"first {step.top}"
