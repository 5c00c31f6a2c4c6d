"""Arguments and options: those that several commands share, and those of `lrcr search`."""

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

# Of `lrcr search`.
Queries = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="QUERY...",
        help="Query photos, folders of photos, or .txt lists of photos; of --descriptors names of images, default all.",
    ),
]
Top = Annotated[int, typer.Option("--top", min=1, help="Number of images to find for each query.")]
BoxText = Annotated[
    str | None,
    typer.Option(
        "--box", metavar="X0,Y0,X1,Y1", help="Search for this part of the query photo, in pixels as a viewer shows it."
    ),
]
RerankSteps = Annotated[
    list[str] | None,
    typer.Option(
        "--rerank",
        metavar="KIND",
        help="Rank the results again by this step with its defaults, e.g. expansion; repeatable.",
    ),
]
Rotations = Annotated[
    bool, typer.Option("--rotations", help="Turn the query also by 90°, 180° and 270°; the best score counts.")
]
Mirror = Annotated[bool, typer.Option("--mirror", help="Mirror the query also; the best score counts.")]
ExcludeSelf = Annotated[bool, typer.Option("--exclude-self", help="Leave out images with the same bytes as the query.")]
MinConfidence = Annotated[
    float | None,
    typer.Option(
        "--min-confidence",
        metavar="P",
        help="Leave out results of less confidence than P, from 0 to 1: of photos that match nothing, a share of 1 - P "
        "has results.",
    ),
]
Shards = Annotated[
    int, typer.Option("--shards", min=1, help="Processes that search, each in some segments of the index.")
]
AllowPartial = Annotated[
    bool,
    typer.Option("--allow-partial", help="With --shards: answer without processes that have ended, and say so."),
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write the results into this .jsonl, .csv or .parquet."),
]
Plot = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE", help="Draw the queries and the results into this .png or .jpg."),
]
PlotMatches = Annotated[
    Path | None,
    typer.Option(
        "--plot-matches",
        metavar="FILE",
        help="Draw the matching locations of query and results into this .png or .jpg.",
    ),
]
