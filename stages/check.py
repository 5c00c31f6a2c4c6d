"""Check all params before anything is touched; the output is the same for all valid ones, so nothing reruns for it."""

from pathlib import Path

from lrcr.cli.terminal import run_stage
from lrcr.config.params import Params
from lrcr.storage.artifacts import write_json


def main(params: Params) -> None:
    """Reading the params has checked them."""
    write_json(Path("data/checked.json"), {"params": "valid"})


run_stage(main)
