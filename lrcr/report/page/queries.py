"""The part of the page with queries and their results: the best, the worst, and those that changed most."""

from collections.abc import Sequence
from html import escape

import numpy as np
import pandas as pd

from lrcr.data.dataset import Dataset
from lrcr.data.ranking import Ranking
from lrcr.progress import SILENT, Progress
from lrcr.report.grading import make_row
from lrcr.report.page.embedding import embed_photo
from lrcr.report.rankings import QueryTile, ResultTile, fit_photo

_QUERIES, _TOP = 3, 10  # queries of a group, results of each
_QUERY_SIZE, _RESULT_SIZE = (300, 225), (168, 126)  # pixels


def choose_groups(table: pd.DataFrame, before: pd.DataFrame | None) -> dict[str, list[int]]:
    """Queries by heading: those with the highest and the lowest AP (medium), and with the largest losses and gains.

    Args:
        table: the AP of the queries (`lrcr.evaluation.per_query`).
        before: the same of another evaluation of the same queries.
    """
    ap = table["medium"].to_numpy(np.float64)
    order = _known_in_order(ap)
    worst = order[: min(_QUERIES, len(order) // 2)]
    groups = {"Best": order[::-1][: min(_QUERIES, len(order) - len(worst))], "Worst": worst}
    if before is not None:
        change = ap - before["medium"].to_numpy(np.float64)
        order = _known_in_order(change)
        groups["Largest losses"] = [query for query in order[:_QUERIES] if change[query] < 0]
        groups["Largest gains"] = [query for query in order[::-1][:_QUERIES] if change[query] > 0]
    return {heading: queries for heading, queries in groups.items() if queries}


def show_queries(
    dataset: Dataset,
    ranking: Ranking,
    table: pd.DataFrame,
    before: pd.DataFrame | None,
    progress: Progress = SILENT,
) -> str:
    """Rows of a query and its first results, by group.

    Args:
        ranking: the one whose AP is in the column `medium` of the table.
        table: the AP of the queries.
        before: the same of another evaluation of the same queries.
    """
    groups = choose_groups(table, before)
    if not groups:
        return "<p>No query has a positive.</p>"
    parts = []
    for heading, queries in groups.items():
        parts.append(f"<h3>{heading}</h3>")
        for query in progress.over(queries, "drawing queries", len(queries)):
            ap = float(table["medium"][query])
            note = f"AP {ap:.1f}"
            if before is not None:
                note += f", {ap - float(before['medium'][query]):+.1f}".replace("-", "−")
            parts.append(_row(*make_row(dataset, ranking, query, _TOP, ap), note, dataset.orient))
    return "".join(parts)


def _known_in_order(values: np.ndarray) -> list[int]:
    """The rows without NaN, in ascending order of their values."""
    order: list[int] = np.argsort(values, kind="stable")[: int((~np.isnan(values)).sum())].tolist()
    return order


def _row(query: QueryTile, results: Sequence[ResultTile], note: str, orient: bool) -> str:
    photo = embed_photo(fit_photo(query.image, _QUERY_SIZE, orient, query.box), f"query {query.name}")
    name = f'<span class="name">{escape(query.name)}</span>'
    asked = f'<figure class="query">{photo}<figcaption><b>{note}</b>{name}</figcaption></figure>'
    return f'<div class="row">{asked}<div class="hits">{"".join(_hits(results, orient))}</div></div>'


def _hits(results: Sequence[ResultTile], orient: bool) -> list[str]:
    hits = []
    for rank, result in enumerate(results, 1):
        photo = embed_photo(fit_photo(result.image, _RESULT_SIZE, orient), result.name)
        caption = f"<b>{rank}</b><span>{result.score:.3f}</span><b>{result.grade}</b>"
        title = escape(result.name)
        hits.append(
            f'<figure class="hit {result.grade}" title="{title}">{photo}<figcaption>{caption}</figcaption></figure>'
        )
    return hits
