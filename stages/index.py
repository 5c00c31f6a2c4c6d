"""Build the index of one dataset."""

import sys
from pathlib import Path

from lrcr.cli.terminal import run_stage, track
from lrcr.indexing import index_dataset
from lrcr.params import Params


def main(params: Params) -> None:
    """Index the dataset named on the command line."""
    name = sys.argv[1]
    index_dataset(
        params,
        Path("data/model.pt"),
        Path("data", name),
        Path("data/descriptors", name),
        Path("data/codebook"),
        Path("data/index", name),
        track=track,
    )


if __name__ == "__main__":  # workers read this file too
    run_stage(main)
