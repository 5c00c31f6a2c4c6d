"""Draw maps, rankings and matches of one dataset, and measure whether bandwidth is large at edges."""

import sys
from pathlib import Path

from lrcr.cli.terminal import progress, run_stage
from lrcr.config.params import Params
from lrcr.report.dataset import report_dataset
from lrcr.storage.artifacts import write_json


def main(params: Params) -> None:
    """Report on the dataset named on the command line."""
    name = sys.argv[1]
    metrics = report_dataset(
        params,
        Path("data", name),
        Path("data/descriptors", name),
        Path("data/index", name),
        Path(f"data/rankings/{name}.parquet"),
        Path("data/report", name),
        progress=progress,
    )
    write_json(Path(f"metrics/report/{name}.json"), metrics)


run_stage(main)
