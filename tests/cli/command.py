"""The command `lrcr` in the process of the tests, exactly as `main` runs it, and settings for small photos."""

import contextlib
import io
import os
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from PIL import Image

from lrcr.cli.main import main


def sets(*overrides: str) -> list[str]:
    """The options that set these params."""
    return [word for override in overrides for word in ("--set", override)]


TRUNK = sets("backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none", "backbone.crop_border=0")
SMALL_EXTRACTION = sets("extract.image_size=64", "extract.scales=[1.0, 0.5]", "extract.max_descriptors=60")
SMALL_CODEBOOK = sets("codebook.words=16")
SMALL = [*TRUNK, *sets("whitening.dim=16"), *SMALL_EXTRACTION, *SMALL_CODEBOOK]
NO_INDEX = "name the folder of an index, as `lrcr index` or the stage index writes it"
ONE_WORD = sets("search.multiple_assignment=1")
"""An image of the index is then as similar to itself as it can be."""

GLOBAL = [*TRUNK, *sets("extract.image_size=64", "extract.scales=[1.0]", "model.name=rmac", "codebook.dim=16")]


def run(*arguments: object) -> tuple[int, str, str]:
    """Run a command; returns its exit code and what it wrote to standard output and to standard error."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["lrcr", *map(str, arguments)]),
        mock.patch.dict(os.environ, {"COLUMNS": "300"}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return ended.value.code or 0, out.getvalue(), err.getvalue()


def lrcr(*arguments: object) -> str:
    """What a command that succeeds writes to standard output."""
    code, out, err = run(*arguments)
    assert code == 0, out + err
    return out


def refuse(*arguments: object) -> str:
    """The one line in which a command says what is wrong, having written nothing to standard output."""
    code, out, err = run(*arguments)
    assert (code, out) == (2, ""), out + err
    assert "Traceback" not in err
    [line] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert err.endswith(f"{line}\n"), "the error has several lines, or is not the last thing that is written"
    return line.removeprefix("error: ")


def pixels(picture: Path) -> np.ndarray:
    """The pixels of a picture, of shape (height, width, channels)."""
    with Image.open(picture) as opened:
        return np.asarray(opened)


def rows(table: str) -> list[list[str]]:
    """The cells of the rows of a printed table, without its head."""
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in table.splitlines() if line[:1] == "│"]
