"""Draw what the pipeline did with one dataset, and measure whether bandwidth is large at edges."""

import sys
from pathlib import Path

from lrcr.artifacts import write_json
from lrcr.cli.terminal import run_stage, track
from lrcr.params import Params
from lrcr.report.dataset import report_dataset


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
        track=track,
    )
    write_json(Path(f"metrics/report/{name}.json"), metrics)


run_stage(main)
