"""The part of the page with curves: those of training, and the AP of the queries."""

from pathlib import Path

import numpy as np
import pandas as pd

from lrcr.evaluation.protocol import SETUPS
from lrcr.report.page.charts import Series, draw_chart

_COUNTER = "epoch"  # the curve of it is a straight line


def show_curves(training: Path, table: pd.DataFrame, before: pd.DataFrame | None, name: str) -> str:
    """Charts of each logged value of training, and of AP.

    Args:
        training: folder of the values by epoch, a .tsv each, as DVCLive writes them.
        table: the AP of the queries (`lrcr.evaluation.per_query`).
        before: the same of another evaluation, which is dashed.
        name: of that evaluation.
    """
    charts = []
    for file in sorted(training.glob("*.tsv")):
        values = pd.read_csv(file, sep="\t").dropna()
        if file.stem != _COUNTER and len(values):
            points = list(zip(values["step"].tolist(), values[file.stem].tolist(), strict=True))
            charts.append(draw_chart(f"Training: {file.stem.replace('_', ' ')}", "epoch", [Series(file.stem, points)]))
    note = "" if charts else "<p>The model was not trained.</p>"
    return f'<div class="charts">{_draw_ap(table, before, name)}{"".join(charts)}</div>{note}'


def _draw_ap(table: pd.DataFrame, before: pd.DataFrame | None, name: str) -> str:
    series = []
    for colour, setup in enumerate(SETUPS, 1):
        series += _sorted_ap(table, setup, setup, colour)
        if before is not None:
            series += _sorted_ap(before, setup, name, colour, dashed=True)
    return draw_chart("AP of each query, sorted", "queries, percent", series) if series else ""


def _sorted_ap(table: pd.DataFrame, setup: str, label: str, colour: int, dashed: bool = False) -> list[Series]:
    ap = np.sort(table[setup].dropna().to_numpy(np.float64))
    if not len(ap):
        return []
    return [Series(label, list(zip(np.linspace(0, 100, len(ap)).tolist(), ap.tolist(), strict=True)), colour, dashed)]
