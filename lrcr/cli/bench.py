"""`lrcr bench`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from lrcr.asmk.speed import draw_queries, measure
from lrcr.cli.options import AsJson
from lrcr.errors import ParamsError
from lrcr.search import Searcher

_MEANING = {
    "open_ms": "open, ms",
    "query_ms": "a query alone, ms",
    "batch_ms": "a query of a batch, ms",
    "search_ns": "search, ns a posting",
    "read_ns": "only reading, ns a posting",
    "postings": "postings visited by a query",
    "bytes_per_posting": "bytes a posting",
}


def bench(
    folder: Annotated[Path, typer.Argument(metavar="INDEX", help="An index that `lrcr index` wrote.")],
    queries: Annotated[int, typer.Option("--queries", min=1, help="How many to draw.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Measure how fast an index answers drawn queries, from their visual words to the ranking."""
    searcher = Searcher(folder)
    index, settings = searcher.index, searcher.settings
    words = round(index.manifest.facts["words_per_image"] * settings.assignment)
    if not words:
        raise ParamsError(f"{folder}: its images have no descriptors; index other photos")
    drawn = draw_queries(index, queries, words, np.random.default_rng(0))
    speed = measure(
        index, drawn, alpha=settings.alpha, tau=settings.tau, idf=settings.idf, top=settings.top or index.images
    )
    if as_json:
        typer.echo(json.dumps(asdict(speed), indent=2))
        return
    table = Table(f"{index.images} images, {queries} queries of {words} words", "")
    for name, value in asdict(speed).items():
        table.add_row(_MEANING[name], f"{value:.4g}")
    Console().print(table)
