"""The command that builds an index."""

from pathlib import Path
from typing import Annotated

import typer

from lrcr.api import build_index, open_index
from lrcr.cli.options import (
    CodebookDescriptors,
    CodebookPhotos,
    DescriptorsFile,
    ModelFile,
    Overrides,
    ParamsFile,
    Recipe,
    TolerateTruncated,
    check_descriptors,
)
from lrcr.cli.terminal import progress, say
from lrcr.config.given import params_of_descriptors
from lrcr.errors import ParamsError


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
    of_photos = {"model": model, "codebook-photos": codebook_photos, "tolerate-truncated": tolerate_truncated}
    check_descriptors(descriptors, codebook_descriptors, of_photos)
    if descriptors is not None:
        from lrcr.retrieval.own.build import index_features

        chosen = params_of_descriptors(params, overrides, recipe, searches=False)
        index_features(chosen, descriptors, output, photos=photos, fit=codebook_descriptors, progress=progress)
        built = open_index(output)
    elif photos is not None:
        built = build_index(
            photos,
            output,
            model=model,
            codebook_photos=codebook_photos,
            recipe=recipe,
            params=params,
            overrides=overrides or (),
            tolerate_truncated=tolerate_truncated,
            progress=progress,
        )
    else:
        raise ParamsError("PHOTOS: missing; name a folder of photos, or a file with --descriptors")
    say(f"{output}: {built.summary}")
