"""One HTML page on a dataset that opens from the disk: its style and its images are inside, and it has no scripts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path

from lrcr.data.dataset import Dataset, open_dataset
from lrcr.data.ranking import Ranking
from lrcr.errors import ArtifactError
from lrcr.evaluation.evaluate import require_queries
from lrcr.evaluation.per_query import open_per_query
from lrcr.progress import SILENT, Progress
from lrcr.report.page.cost import show_cost
from lrcr.report.page.curves import show_curves
from lrcr.report.page.embedding import embed_picture
from lrcr.report.page.queries import show_queries
from lrcr.report.page.results import Evaluated, compare_with, parse_evaluated, show_results
from lrcr.storage.artifacts import read_json, staged_file

_PICTURES = 4  # embedded of each kind


@dataclass(frozen=True)
class PageInputs:
    """The files that a page shows.

    Args:
        dataset: folder of the tables.
        ranking: the ranking of the setup medium, after all steps of re-ranking.
        metrics: `metrics/<dataset>.json`.
        cost: `metrics/cost/<dataset>.json`.
        table: `metrics/ap/<dataset>.csv`.
        training: folder of the curves of training, a .tsv each.
        report: folder of the pictures of matches.
        maps: folder of the pictures of maps.
    """

    dataset: Path
    ranking: Path
    metrics: Path
    cost: Path
    table: Path
    training: Path
    report: Path
    maps: Path


@dataclass(frozen=True)
class Committed:
    """The evaluation of the same dataset in a commit: its name, and the contents of the table and the metrics."""

    name: str
    table: bytes
    metrics: bytes


def write_page(inputs: PageInputs, path: Path, committed: Committed | None = None, progress: Progress = SILENT) -> None:
    """Write the page atomically.

    Its size has a bound: at most twelve queries with ten results each, four pictures of maps and four of matches, none
    wider than 1400 pixels.

    Args:
        inputs: the files that it shows.
        path: of the page.
        committed: an evaluation to compare with, if its files can be read and it has the same queries.
        progress: one step for each query.

    Raises:
        ArtifactError: an input is missing or damaged.
        DatasetError: the dataset has no queries.
    """
    dataset = open_dataset(inputs.dataset)
    require_queries(dataset)
    now = Evaluated("this run", open_per_query(inputs.table), read_json(inputs.metrics))
    try:
        other = None if committed is None else parse_evaluated(committed.name, committed.table, committed.metrics)
    except ArtifactError:
        other = None
    before = other.table if other and compare_with(now, other)[0] else None
    cost = show_cost(read_json(inputs.cost), len(dataset.images), len(dataset.queries))
    sections = {
        "Metrics": show_results(now, other),
        "Curves": show_curves(inputs.training, now.table, before, other.name if other else ""),
        "Queries": show_queries(dataset, Ranking.load(inputs.ranking), now.table, before, progress),
        "Maps": _show_pictures(inputs.maps.glob("*.png"), dataset.images["path"].tolist(), "maps of"),
        "Matches": _show_pictures(inputs.report.glob("matches-*.png"), dataset.queries["path"].tolist(), "matches of"),
        "Time": cost,
    }
    with staged_file(path) as temporary:
        temporary.write_text(_document(dataset, sections), encoding="utf-8")


def _show_pictures(pictures: Iterable[Path], names: Sequence[str], subject: str) -> str:
    """Figures of the first pictures, whose names end with a row number; nothing if there are none."""
    parts = []
    for file in sorted(pictures)[:_PICTURES]:
        caption = f"{subject} {names[int(file.stem.rpartition('-')[2])]}"
        parts.append(
            f'<figure class="sheet"><div class="scroll">{embed_picture(file, caption)}</div>'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    return "".join(parts)


def _document(dataset: Dataset, sections: dict[str, str]) -> str:
    shown = {title: body for title, body in sections.items() if body}
    links = "".join(f'<a href="#{title.lower()}">{title}</a>' for title in shown)
    bodies = "".join(
        f'<section id="{title.lower()}"><h2>{title}</h2>{body}</section>\n' for title, body in shown.items()
    )
    name, counts = escape(dataset.name), f"{len(dataset.images):,} images, {len(dataset.queries):,} queries"
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{name}: report</title>
<style>
{files(__package__).joinpath("page.css").read_text(encoding="utf-8")}</style>
</head>
<body>
<header><h1>{name}</h1><p>{counts}</p><nav>{links}</nav></header>
<main>
{bodies}</main>
</body>
</html>
"""
