"""Arguments and options that several commands share, and the params they amount to."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.config.retrieval import SearchParams
from lrcr.errors import ParamsError
from lrcr.models.factory import MODEL_SECTIONS

ParamsFile = Annotated[
    Path | None, typer.Option("--params", help="YAML file of params; what it leaves out keeps its default.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One param, e.g. smoothing.kernel=5; repeatable.")
]
ModelFile = Annotated[
    Path | None, typer.Option("--model", help="A model that `lrcr train` wrote; without it the backbone off the shelf.")
]
FitFolder = Annotated[
    Path | None, typer.Option("--fit", help="Photos to learn whitening and codebook on, in place of PHOTOS themselves.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def params_of_search(file: Path | None, overrides: Sequence[str] | None) -> SearchParams:
    """How an index is searched; params that the index has decided already are refused.

    Raises:
        ParamsError: a key is unknown, its value is refused, or it is not one of `search`.
    """
    for override in overrides or ():
        section = override.partition("=")[0].partition(".")[0]
        if section != "search":
            raise ParamsError(f"--set {override}: {section} is decided by the index; set params of search only")
    return load_params(file, overrides or ()).search


def params_without_training(
    file: Path | None, overrides: Sequence[str] | None, model: Path | None, *, searches: bool
) -> Params:
    """Params for a command that describes photos; keys that would have no effect are refused.

    Args:
        searches: whether the command also searches.

    Raises:
        ParamsError: a key is unknown, its value is refused, or it would do nothing here.
    """
    for override in overrides or ():
        section = override.partition("=")[0].partition(".")[0]
        if section in ("data", "datasets"):
            raise ParamsError(f"--set {override}: this command reads the folder it is given; leave {section} out")
        if section == "search" and not searches:
            raise ParamsError(f"--set {override}: an index does not hold how it is searched; use it with `lrcr search`")
        if section == "train":
            raise ParamsError(f"--set {override}: this command does not train; use it with `lrcr train`")
        if model is not None and section in MODEL_SECTIONS:
            raise ParamsError(f"--set {override}: {section} is decided by --model {model}; leave one of the two out")
    return load_params(file, overrides or ())
