"""`lrcr train`."""

from pathlib import Path
from typing import Annotated

import typer

from lrcr.cli.options import Overrides, ParamsFile
from lrcr.cli.terminal import progress, stderr
from lrcr.config.reading import load_params
from lrcr.pipeline import train_on_folder


def train(
    folder: Annotated[Path, typer.Argument(help="Photos with labels.csv (image,label).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the model goes.")],
    val: Annotated[Path | None, typer.Option("--val", help="Validation photos; else 20 % of the landmarks.")] = None,
    params: ParamsFile = None,
    overrides: Overrides = None,
) -> None:
    """Train a model on a folder of labelled photos."""

    def log(values: dict[str, float]) -> None:
        stderr.print("  ".join(f"{name} {value:.4g}" for name, value in values.items()))

    train_on_folder(load_params(params, overrides or ()), folder, output, val=val, log=log, progress=progress)
    stderr.print(f"{output}: model written")
