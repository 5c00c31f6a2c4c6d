"""Build the index of one dataset."""

import sys
from pathlib import Path

from lrcr.cli.terminal import progress, run_stage
from lrcr.config.params import Params
from lrcr.retrieval.build import index_dataset


def main(params: Params) -> None:
    """Index the dataset named on the command line."""
    name = sys.argv[1]
    index_dataset(
        params,
        Path("data/model.safetensors"),
        Path("data", name),
        Path("data/descriptors", name),
        Path("data/codebook"),
        Path("data/index", name),
        progress=progress,
    )


if __name__ == "__main__":  # worker processes import this file
    run_stage(main)
