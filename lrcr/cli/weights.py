"""`lrcr weights`."""

from pathlib import Path
from typing import Annotated

import typer

from lrcr.cli.terminal import progress, say
from lrcr.datasets.sources import HOW_MODELS


def weights(
    source: Annotated[
        str, typer.Argument(metavar="MODEL", help=f"{' or '.join(HOW_MODELS)}, or a checkpoint of HOW's code (.pth).")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Model file to write.")],
) -> None:
    """Convert a released model of HOW, by name (it is downloaded) or by file, to a model file."""
    from lrcr.datasets.fetch import Store
    from lrcr.datasets.make import CHECKSUMS
    from lrcr.models.how_weights import import_how

    released = HOW_MODELS.get(source)
    file = Path(source) if released is None else Store.from_environment(CHECKSUMS).fetch(released, progress).path
    import_how(file, output)
    say(f"{output}: model written")
