"""`lrcr bench`."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lrcr.cli.options import AsJson

_MEANING = {
    "open_ms": "open, ms",
    "query_ms": "query alone, ms",
    "batch_ms": "query in a batch, ms",
    "search_ns": "search, ns per posting",
    "read_ns": "reading alone, ns per posting",
    "postings": "postings read per query",
    "bytes_per_posting": "bytes per posting",
    "bytes_per_image": "bytes per image",
}


def bench(
    folder: Annotated[Path, typer.Argument(metavar="INDEX", help="Index written by `lrcr index`.")],
    queries: Annotated[int, typer.Option("--queries", min=1, help="Number of random queries.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Measure the speed of an index on random queries, from their visual words or vector to the ranking."""
    from lrcr.retrieval.searcher import Searcher

    searcher = Searcher(folder)
    speed = searcher.index.measure(queries)
    if as_json:
        typer.echo(json.dumps(speed, indent=2))
        return
    table = Table(f"{searcher.index.summary}; {queries} {'query' if queries == 1 else 'queries'}", "")
    for name, value in speed.items():
        table.add_row(_MEANING[name], f"{value:.4g}")
    Console().print(table)
