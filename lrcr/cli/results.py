"""The results of `lrcr search`: a table, JSON, or a file of JSON lines, CSV or Parquet."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lrcr.storage.artifacts import staged_file

COLUMNS = ("query", "rank", "score", "confidence", "image", "label", "path", "version")
PARTIAL = "unsearched"
SUFFIXES = (".jsonl", ".csv", ".parquet")

Row = Mapping[str, Any]
"""One result: the values of `COLUMNS`, and of `PARTIAL` where partial answers are allowed."""


def write_results(file: Path, rows: Sequence[Row]) -> None:
    """Write results atomically, in the format that the suffix names."""
    with staged_file(file) as temporary:
        if file.suffix == ".parquet":
            _write_parquet(temporary, rows)
            return
        with temporary.open("w", encoding="utf-8", newline="") as lines:
            if file.suffix == ".csv":
                writer = csv.DictWriter(lines, _columns(rows))
                writer.writeheader()
                writer.writerows(rows)
            else:
                lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _write_parquet(file: Path, rows: Sequence[Row]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers = {"rank": pa.int64(), "score": pa.float64(), "confidence": pa.float64(), PARTIAL: pa.int64()}
    types = {name: numbers.get(name, pa.string()) for name in _columns(rows)}
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], pa.schema(list(types.items()))), file)


def _columns(rows: Sequence[Row]) -> Sequence[str]:
    return (*COLUMNS, PARTIAL) if any(PARTIAL in row for row in rows) else COLUMNS


def print_results(rows: Sequence[Row], *, several: bool, versions: bool) -> None:
    """Print results as a table; of an index that is not calibrated they have no confidence.

    Args:
        several: whether there are several queries, which get a column.
        versions: whether the queries were also turned or mirrored; what matches best gets a column.
    """
    calibrated = any(row["confidence"] is not None for row in rows)
    shown = [
        *(["query"] if several else []),
        *("rank", "score"),
        *(["confidence"] if calibrated else []),
        *("image", "label"),
        *(["version"] if versions else []),
    ]
    table = Table(*shown)
    for row in rows:
        texts = {**row, "rank": str(row["rank"]), "score": f"{row['score']:.4f}"}
        texts["confidence"] = "" if row["confidence"] is None else f"{row['confidence']:.3f}"
        table.add_row(*(escape(texts[name] or "") for name in shown))
    Console().print(table)
