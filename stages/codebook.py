"""Learn the codebook: visual words, or the whitening of global vectors."""

from pathlib import Path

from lrcr.cli.terminal import progress, run_stage
from lrcr.config.params import Params
from lrcr.retrieval.codebook import make_codebook


def main(params: Params) -> None:
    """Learn the codebook from the descriptors of the fit set."""
    make_codebook(params, Path("data/descriptors/fit"), Path("data/codebook"), progress)


run_stage(main)
