"""Learn the codebook: visual words, or the whitening of global vectors."""

from pathlib import Path

from lrcr.cli.terminal import run_stage, track
from lrcr.indexing import make_codebook
from lrcr.params import Params


def main(params: Params) -> None:
    """Learn from the fit set's descriptors."""
    make_codebook(params, Path("data/descriptors/fit"), Path("data/codebook"), track)


run_stage(main)
