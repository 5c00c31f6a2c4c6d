"""The commands that look at a whole collection: `lrcr duplicates`, `cluster` and `pairs`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import lrcr.collections
from lrcr.api import open_index
from lrcr.cli.features import require_photos
from lrcr.cli.options import MovedPhotos
from lrcr.cli.outputs import require_output, require_pictures
from lrcr.cli.queries import find_queries
from lrcr.cli.terminal import progress, say
from lrcr.cli.wording import name_options
from lrcr.errors import ParamsError, counted

if TYPE_CHECKING:
    import pandas as pd

    from lrcr.retrieval.photos import PhotoIndex

Index = Annotated[Path, typer.Argument(metavar="INDEX", help="Index written by `lrcr index`.")]
MinScore = Annotated[
    float | None, typer.Option("--min-score", help="Similarity that a pair needs; default: by the kind of the index.")
]
MinInliers = Annotated[
    int,
    typer.Option(
        "--min-inliers",
        min=0,
        help="Matches of a pair that must agree on one transformation; needs an index with local descriptors.",
    ),
]
Neighbours = Annotated[
    int, typer.Option("--neighbours", min=1, help="Nearest images of each image that can be its pairs.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write the groups into this .csv or .parquet."),
]
Plot = Annotated[
    Path | None, typer.Option("--plot", metavar="FILE", help="Draw the largest groups into this .png or .jpg.")
]


@name_options("min_score", "min_inliers")
def duplicates(
    folder: Index,
    min_score: MinScore = None,
    min_inliers: MinInliers = 0,
    neighbours: Neighbours = 50,
    output: Output = None,
    plot: Plot = None,
    moved: MovedPhotos = None,
) -> None:
    """Find the near-identical photos of an index."""
    index = _open(folder, moved, output, plot)
    found = lrcr.collections.duplicates(
        index, min_score=min_score, min_inliers=min_inliers, neighbours=neighbours, progress=progress
    )
    _show(folder, found, output, plot, inliers=min_inliers > 0)


@name_options("min_score", "min_inliers")
def cluster(
    folder: Index,
    min_score: MinScore = None,
    min_inliers: MinInliers = 0,
    neighbours: Neighbours = 50,
    output: Output = None,
    plot: Plot = None,
    moved: MovedPhotos = None,
) -> None:
    """Find the photos of an index that show the same place or thing."""
    index = _open(folder, moved, output, plot)
    found = lrcr.collections.cluster(
        index, min_score=min_score, min_inliers=min_inliers, neighbours=neighbours, progress=progress
    )
    _show(folder, found, output, plot, inliers=min_inliers > 0)


def pairs(
    folder: Index,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="List of pairs to write, a text.")],
    top: Annotated[int, typer.Option("--top", min=1, help="Number of images for each image.")] = 20,
    form: Annotated[
        str, typer.Option("--format", metavar="hloc|colmap", help="hloc: query and image; colmap: each pair once.")
    ] = "hloc",
    queries: Annotated[
        Path | None,
        typer.Option(
            "--queries", metavar="FOLDER", help="Pair these photos with the images of the index, for localisation."
        ),
    ] = None,
    moved: MovedPhotos = None,
) -> None:
    """Write the pairs of similar images of an index, for structure from motion or localisation."""
    from lrcr.retrieval.pairs import require_format, require_names, write_pairs

    require_format(form)
    require_output(output, "pairs")
    index = open_index(folder, photos=moved or ())
    named = None if queries is None else _name_queries(queries, index.searcher.roots)
    require_names([*index.searcher.images["name"], *(named or ())], f"--output {output}")
    found = lrcr.collections.pairs(index, top, queries=named, progress=progress)
    say(f"{output}: {counted(write_pairs(output, found, form), 'pair')}")


def _name_queries(folder: Path, roots: list[Path]) -> dict[str, Path]:
    """The photos below a folder by the names that the index would give them.

    That is the path below the index's folder of photos if they lie in it, and otherwise below their own folder.
    """
    if not folder.is_dir():
        raise ParamsError(f"--queries {folder}: not a folder; name a folder of photos")
    place = folder.resolve()
    base = next((root for root in roots if place.is_relative_to(root)), place)
    below = place.relative_to(base)
    return {(below / query.path.relative_to(folder)).as_posix(): query.path for query in find_queries([folder])}


def _open(folder: Path, moved: list[Path] | None, output: Path | None, plot: Path | None) -> "PhotoIndex":
    """Open an index, unless what it finds cannot be written or drawn."""
    require_output(output, "groups", (".csv", ".parquet"))
    require_pictures({"plot": (plot, "groups")})
    index = open_index(folder, photos=moved or ())
    if not index.searcher.has_model:
        require_photos({"plot": plot}, moved)
    return index


def _show(folder: Path, found: "pd.DataFrame", output: Path | None, plot: Path | None, *, inliers: bool) -> None:
    """Write the groups, or print them, and draw them."""
    if output is not None:
        _write(output, found)
    else:
        _print(found, inliers=inliers)
    if plot is not None and not len(found):
        say(f"{plot}: not drawn, for there is no group")
    elif plot is not None:
        from lrcr.report.groups import draw_groups

        draw_groups(plot, found, progress)
    say(f"{folder}: {counted(found['group'].nunique(), 'group')} of {counted(len(found), 'image')}")


def _write(file: Path, found: "pd.DataFrame") -> None:
    from lrcr.storage.artifacts import staged_file

    with staged_file(file) as temporary:
        if file.suffix == ".csv":
            found.to_csv(temporary, index=False)
        else:
            found.to_parquet(temporary, index=False)


def _print(found: "pd.DataFrame", *, inliers: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    counts = ["inliers"] if inliers else []
    table = Table("group", "image", "score", *counts, "label")
    for row in found.to_dict("records"):
        label = escape(row["label"]) if isinstance(row["label"], str) else ""
        numbers = (str(row[name]) for name in counts)
        table.add_row(str(row["group"]), escape(row["image"]), f"{row['score']:.4f}", *numbers, label)
    Console().print(table)
