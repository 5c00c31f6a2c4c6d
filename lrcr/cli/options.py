"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from lrcr.config.recipes import recipe_names

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
