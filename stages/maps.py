"""Draw maps of some photos of one dataset, and measure whether bandwidth is large at edges."""

import sys
from pathlib import Path

from lrcr.cli.terminal import progress, run_stage
from lrcr.config.params import Params
from lrcr.report.dataset_maps import draw_dataset_maps
from lrcr.storage.artifacts import write_json


def main(params: Params) -> None:
    """Draw maps of the dataset named on the command line."""
    name = sys.argv[1]
    metrics = draw_dataset_maps(
        params, Path("data/model.safetensors"), Path("data", name), Path("data/maps", name), progress=progress
    )
    write_json(Path(f"metrics/maps/{name}.json"), metrics)


run_stage(main)
