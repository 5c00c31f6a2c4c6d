"""The part of the page on metrics: mAP with its difference from HEAD and an interval, then all other metrics."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from lrcr.errors import ArtifactError
from lrcr.evaluation.per_query import parse_per_query
from lrcr.evaluation.protocol import SETUPS
from lrcr.evaluation.seeds import Comparison, Side, compare_seeds
from lrcr.report.page.charts import draw_interval

Value = float | dict[str, float | None] | None


@dataclass(frozen=True, eq=False)
class Evaluated:
    """An evaluation: a name for it, the table of its queries (`lrcr.evaluation.per_query`), and its metrics."""

    name: str
    table: pd.DataFrame
    metrics: dict[str, Any]


def parse_evaluated(name: str, table: bytes, metrics: bytes) -> Evaluated:
    """An evaluation from the contents of its two files.

    Raises:
        ArtifactError: one of them is not such a file.
    """
    try:
        values = json.loads(metrics)
    except ValueError as error:
        raise ArtifactError(f"{name}: its metrics are not JSON ({error}); evaluate again") from None
    if not isinstance(values, dict):
        raise ArtifactError(f"{name}: its metrics are a {type(values).__name__}, not an object; evaluate again")
    return Evaluated(name, parse_per_query(table, name), values)


def compare_with(now: Evaluated, other: Evaluated | None) -> tuple[dict[str, Comparison], str]:
    """The comparison in each setup, and a sentence on it; no comparison if there is nothing to compare with."""
    if other is None:
        return {}, "HEAD has no evaluation of this dataset to compare with."
    if now.table.equals(other.table):
        return {}, f"At {other.name} each query has the same AP."
    try:
        sides = [Side(each.name, each.table) for each in (now, other)]
        found = {setup: compare_seeds(sides[:1], sides[1:], setup) for setup in SETUPS}
    except ArtifactError as error:
        return {}, f"Not compared: {error}."
    return found, f"Differences from {other.name}, with 95 % intervals of a paired bootstrap over landmarks."


def show_results(now: Evaluated, other: Evaluated | None) -> str:
    """The cards of mAP, and tables of the metrics."""
    found, sentence = compare_with(now, other)
    bounds = [abs(end) for each in found.values() if (d := each.difference) for end in (d.low, d.high)]
    reach = max(bounds, default=0.0) or 1.0
    cards = [_card(setup, now.table[setup].mean(), found.get(setup), reach) for setup in SETUPS]
    before = dict(_flatten(other.metrics)) if found and other else {}
    values = dict(_flatten(now.metrics))
    graded = {name: value for name, value in values.items() if isinstance(value, dict)}
    rows = [(name, [_cell(value[s], _of_setup(before.get(name), s)) for s in SETUPS]) for name, value in graded.items()]
    single = [
        (name, [_cell(value, number if not isinstance(number := before.get(name), dict) else None)])
        for name, value in values.items()
        if not isinstance(value, dict)
    ]
    tables = f"{_table(['in percent', *SETUPS], rows)}{_table(['', 'value'], single)}"
    return f'<p>{escape(sentence)}</p><div class="cards">{"".join(cards)}</div><div class="tables">{tables}</div>'


def _card(setup: str, value: float, comparison: Comparison | None, reach: float) -> str:
    shown = "–" if pd.isna(value) else f"{value:.1f}"
    card = f'<h3>mAP {setup}</h3><p class="number">{shown}</p>'
    if comparison is not None and (difference := comparison.difference):
        numbers = f"{difference.mean:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]"
        card += f'{draw_interval(difference, reach)}<p class="difference">{numbers.replace("-", "−")}</p>'
    return f'<div class="card">{card}</div>'


def _flatten(metrics: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Value]]:
    """Names with dots and their values: a number, or one of each setup."""
    for name, value in metrics.items():
        if isinstance(value, dict) and (set(value) != set(SETUPS) or any(isinstance(v, dict) for v in value.values())):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _of_setup(value: Value, setup: str) -> float | None:
    return value[setup] if isinstance(value, dict) else None


def _cell(value: float | None, before: float | None) -> str:
    if value is None:
        return "–"
    shown = _number(value)
    if before is None or before == value:
        return shown
    change = f"{value - before:+.2f}" if isinstance(value, float) else f"{value - before:+,}"
    return f'{shown} <span class="change">{change.replace("-", "−")}</span>'


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _table(heading: list[str], rows: list[tuple[str, list[str]]]) -> str:
    if not rows:
        return ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heading)
    body = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for name, cells in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
