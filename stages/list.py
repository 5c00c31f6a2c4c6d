"""List the photos of one folder dataset, by which DVC notices that they have changed."""

import sys
from pathlib import Path

from lrcr.cli.terminal import run_stage
from lrcr.config.datasets import FolderParams
from lrcr.config.params import Params
from lrcr.datasets.listing import list_folder
from lrcr.errors import ParamsError


def main(params: Params) -> None:
    """List the photos of the dataset named on the command line."""
    name = sys.argv[1]
    dataset = params.datasets.get(name)
    if not isinstance(dataset, FolderParams):
        raise ParamsError(f"params.yaml: data.folders: {name!r} is no dataset of kind folder; leave it out")
    list_folder(Path(dataset.path).expanduser(), Path(f"listed/{name}.tsv"))


run_stage(main)
