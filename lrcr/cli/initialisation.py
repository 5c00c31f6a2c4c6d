"""`lrcr init`."""

from pathlib import Path
from typing import Annotated

import typer

from lrcr.cli.options import Recipe
from lrcr.cli.terminal import say
from lrcr.errors import ParamsError
from lrcr.storage.artifacts import staged_file

_FILE = Path("params.yaml")


def init(
    recipe: Recipe = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite params.yaml.")] = False,
) -> None:
    """Write params.yaml, with all keys, into the current folder: the defaults, or the params of a recipe."""
    from lrcr.config.writing import write_params  # imports pydantic

    text = write_params(recipe)
    if _FILE.exists() and not force:
        raise ParamsError(f"{_FILE}: exists; move it away, or overwrite it with --force")
    with staged_file(_FILE) as temporary:
        temporary.write_text(text, encoding="utf-8")
    say(f"{_FILE}: written")
