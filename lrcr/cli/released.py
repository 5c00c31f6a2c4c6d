"""`lrcr download-model`."""

from pathlib import Path
from typing import Annotated

import typer

from lrcr.cli.terminal import progress, say
from lrcr.datasets.sources import HOW_MODELS


def download_model(
    source: Annotated[
        str, typer.Argument(metavar="MODEL", help=f"{' or '.join(HOW_MODELS)}, or a checkpoint of HOW's code (.pth).")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Model file to write.")],
) -> None:
    """Write a released model of HOW as a model file: by name, which downloads it, or from its checkpoint."""
    from lrcr.datasets.fetch import Store
    from lrcr.datasets.make import CHECKSUMS
    from lrcr.models.how_weights import import_how

    released = HOW_MODELS.get(source)
    file = Path(source) if released is None else Store.from_environment(CHECKSUMS).fetch(released, progress).path
    import_how(file, output)
    say(f"{output}: model written")
