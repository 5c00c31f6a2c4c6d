"""Draw rankings and matches of one dataset, and write its page."""

import sys
from pathlib import Path

from lrcr.cli.committed import read_committed
from lrcr.cli.terminal import progress, run_stage
from lrcr.config.params import Params
from lrcr.report.dataset import report_dataset
from lrcr.report.page.page import Committed, PageInputs, write_page


def main(params: Params) -> None:
    """Report on the dataset named on the command line."""
    name = sys.argv[1]
    pictures = Path("data/report", name)
    report_dataset(
        params,
        Path("data", name),
        Path("data/descriptors", name),
        Path("data/index", name),
        Path(f"data/rankings/{name}.parquet"),
        pictures,
        progress=progress,
    )
    table, metrics = f"metrics/ap/{name}.csv", f"metrics/{name}.json"
    inputs = PageInputs(
        dataset=Path("data", name),
        ranking=Path(f"data/rankings/{name}-medium.parquet"),
        metrics=Path(metrics),
        cost=Path(f"metrics/cost/{name}.json"),
        table=Path(table),
        training=Path("metrics/training/plots/metrics"),
        report=pictures,
        maps=Path("data/maps", name),
    )
    head = read_committed(table, metrics)
    committed = None if head is None else Committed(f"HEAD ({head[0]})", *head[1])
    write_page(inputs, Path(f"data/report-page/{name}.html"), committed, progress=progress)


run_stage(main)
