"""Draw rankings and matches of one dataset."""

import sys
from pathlib import Path

from lrcr.cli.terminal import progress, run_stage
from lrcr.config.params import Params
from lrcr.report.dataset import report_dataset


def main(params: Params) -> None:
    """Report on the dataset named on the command line."""
    name = sys.argv[1]
    report_dataset(
        params,
        Path("data", name),
        Path("data/descriptors", name),
        Path("data/index", name),
        Path(f"data/rankings/{name}.parquet"),
        Path("data/report", name),
        progress=progress,
    )


run_stage(main)
