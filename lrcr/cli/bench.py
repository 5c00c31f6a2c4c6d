"""`lrcr bench`."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lrcr.cli.options import AsJson
from lrcr.retrieval.searcher import Searcher

_MEANING = {
    "open_ms": "open, ms",
    "query_ms": "a query alone, ms",
    "batch_ms": "a query of a batch, ms",
    "search_ns": "search, ns a posting",
    "read_ns": "only reading, ns a posting",
    "postings": "postings visited by a query",
    "bytes_per_posting": "bytes a posting",
    "bytes_per_image": "bytes an image",
}


def bench(
    folder: Annotated[Path, typer.Argument(metavar="INDEX", help="An index that `lrcr index` wrote.")],
    queries: Annotated[int, typer.Option("--queries", min=1, help="How many to draw.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Measure how fast an index answers drawn queries, from their visual words or vector to the ranking."""
    searcher = Searcher(folder)
    speed = searcher.index.measure(queries)
    if as_json:
        typer.echo(json.dumps(speed, indent=2))
        return
    table = Table(f"{searcher.index.summary}; {queries} queries", "")
    for name, value in speed.items():
        table.add_row(_MEANING[name], f"{value:.4g}")
    Console().print(table)
