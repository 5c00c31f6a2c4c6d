"""The command that builds an index."""

from pathlib import Path
from typing import Annotated

import typer

from lrcr.api import build_index
from lrcr.cli.options import (
    CodebookDescriptors,
    CodebookPhotos,
    DescriptorsFile,
    ModelFile,
    Overrides,
    ParamsFile,
    Recipe,
    TolerateTruncated,
)
from lrcr.cli.terminal import progress, say


def index(
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the index; an existing index is replaced."),
    ],
    photos: Annotated[
        Path | None,
        typer.Argument(
            metavar="PHOTOS",
            help="Folder of photos, with its subfolders; with --descriptors only its labels.csv is read.",
        ),
    ] = None,
    model: ModelFile = None,
    codebook_photos: CodebookPhotos = None,
    descriptors: DescriptorsFile = None,
    codebook_descriptors: CodebookDescriptors = None,
    recipe: Recipe = None,
    params: ParamsFile = None,
    overrides: Overrides = None,
    tolerate_truncated: TolerateTruncated = False,
) -> None:
    """Build an index of a folder of photos, or of local descriptors that were computed elsewhere."""
    built = build_index(
        photos,
        output,
        model=model,
        codebook_photos=codebook_photos,
        descriptors=descriptors,
        codebook_descriptors=codebook_descriptors,
        recipe=recipe,
        params=params,
        overrides=overrides or (),
        tolerate_truncated=tolerate_truncated,
        progress=progress,
    )
    say(f"{output}: {built.summary}")
