"""Make one dataset: its tables and, if it is rendered, its images."""

import sys
from pathlib import Path

from lrcr.cli.terminal import progress, run_stage
from lrcr.config.params import Params
from lrcr.datasets.make import make_dataset


def main(params: Params) -> None:
    """Make the dataset named on the command line."""
    name = sys.argv[1]
    make_dataset(name, params.datasets[name], Path("data", name), seed=params.seed, progress=progress)


run_stage(main)
