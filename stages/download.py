"""Make one dataset: tables and, for rendered ones, images."""

import sys
from pathlib import Path

from lrcr.cli.terminal import run_stage, track
from lrcr.datasets.make import make_dataset
from lrcr.params import Params


def main(params: Params) -> None:
    """Make the dataset named on the command line."""
    name = sys.argv[1]
    make_dataset(name, params.datasets[name], Path("data", name), seed=params.seed, track=track)


run_stage(main)
