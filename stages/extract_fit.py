"""Extract the descriptors that the codebook is learned from."""

from pathlib import Path

from lrcr.cli.terminal import progress, run_stage
from lrcr.config.params import Params
from lrcr.features.extraction import extract_fit


def main(params: Params) -> None:
    """Extract a sample of the images of `data.fit`."""
    dataset = Path("data", params.data.fit or "")
    extract_fit(params, Path("data/model.safetensors"), dataset, Path("data/descriptors/fit"), progress=progress)


if __name__ == "__main__":  # worker processes import this file
    run_stage(main)
