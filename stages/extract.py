"""Extract the descriptors of one dataset's database and queries."""

import sys
from pathlib import Path

from lrcr.cli.terminal import progress, run_stage
from lrcr.config.params import Params
from lrcr.features.extraction import extract_dataset
from lrcr.storage.artifacts import write_json


def main(params: Params) -> None:
    """Extract the dataset named on the command line."""
    name = sys.argv[1]
    cost = extract_dataset(
        params, Path("data/model.safetensors"), Path("data", name), Path("data/descriptors", name), progress=progress
    )
    write_json(Path(f"data/cost/{name}.json"), cost)


if __name__ == "__main__":  # worker processes import this file
    run_stage(main)
