"""Arguments and options that several commands share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from lrcr.config.recipes import recipe_names
from lrcr.errors import ParamsError

Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME",
        help=f"Params of a recipe: {', '.join(recipe_names())}.",
        autocompletion=recipe_names,
    ),
]
ParamsFile = Annotated[
    Path | None,
    typer.Option(
        "--params",
        metavar="FILE",
        help="YAML file of params; other keys keep the values of the recipe or their defaults.",
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One param, e.g. smoothing.kernel=5; repeatable.")
]
ModelFile = Annotated[
    Path | None,
    typer.Option(
        "--model", metavar="FILE", help="Model file of `lrcr train`; default: the backbone as it is, not trained."
    ),
]
CodebookPhotos = Annotated[
    Path | None,
    typer.Option(
        "--codebook-photos",
        metavar="FOLDER",
        help="Folder of photos to learn whitening and codebook from; default: PHOTOS.",
    ),
]
DescriptorsFile = Annotated[
    Path | None,
    typer.Option("--descriptors", metavar="FILE", help="HDF5 file of your own local descriptors, as hloc stores them."),
]
CodebookDescriptors = Annotated[
    Path | None,
    typer.Option(
        "--codebook-descriptors",
        metavar="FILE",
        help="Another such file to learn the codebook from; default: the file of --descriptors.",
    ),
]
MovedPhotos = Annotated[
    list[Path] | None,
    typer.Option(
        "--photos",
        metavar="NEWROOT",
        help="Where the photos are now, if they were moved; repeat it for each folder of a merged index.",
    ),
]
TolerateTruncated = Annotated[
    bool, typer.Option("--tolerate-truncated", help="Accept JPEGs that lack their last bytes; they are counted.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def check_descriptors(descriptors: Path | None, codebook: Path | None, of_photos: Mapping[str, object]) -> None:
    """Refuse options that do not go together.

    Args:
        codebook: the value of --codebook-descriptors, which needs --descriptors.
        of_photos: option → value, of those that have no effect beside --descriptors.

    Raises:
        ParamsError: naming the option.
    """
    if descriptors is None and codebook is not None:
        raise ParamsError(f"--codebook-descriptors {codebook}: has no effect without --descriptors; give both")
    for option, value in of_photos.items():
        if descriptors is not None and value:
            raise ParamsError(f"--{option}: has no effect on --descriptors; leave it out")
