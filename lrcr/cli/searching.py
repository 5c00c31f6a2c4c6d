"""`lrcr index` and `lrcr search`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lrcr.api import build_index, open_index
from lrcr.cli.options import (
    AsJson,
    CodebookPhotos,
    ModelFile,
    MovedPhotos,
    Overrides,
    ParamsFile,
    Recipe,
    TolerateTruncated,
)
from lrcr.cli.terminal import import_torch, progress, say
from lrcr.errors import ParamsError

if TYPE_CHECKING:
    from lrcr.data.images import Box
    from lrcr.retrieval.photos import Hit, PhotoIndex


def index(
    photos: Annotated[Path, typer.Argument(metavar="PHOTOS", help="Folder of photos, with its subfolders.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the index; an existing index is replaced."),
    ],
    model: ModelFile = None,
    codebook_photos: CodebookPhotos = None,
    recipe: Recipe = None,
    params: ParamsFile = None,
    overrides: Overrides = None,
    tolerate_truncated: TolerateTruncated = False,
) -> None:
    """Build an index of a folder of photos."""
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
    say(f"{output}: {built.summary}")


def search(
    folder: Annotated[Path, typer.Argument(metavar="INDEX", help="Index written by `lrcr index`.")],
    query: Annotated[Path, typer.Argument(metavar="QUERY", help="The query photo.")],
    top: Annotated[int, typer.Option("--top", min=1, help="Number of images to print.")] = 10,
    box: Annotated[
        str | None,
        typer.Option(
            "--box",
            metavar="X0,Y0,X1,Y1",
            help="Search for this part of the query photo, in pixels as a viewer shows it.",
        ),
    ] = None,
    rerank: Annotated[
        list[str] | None,
        typer.Option(
            "--rerank",
            metavar="KIND",
            help="Rank the results again by this step with its defaults, e.g. expansion; repeatable.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", metavar="FILE", help="Draw the query and the results into this .png or .jpg."),
    ] = None,
    plot_matches: Annotated[
        Path | None,
        typer.Option(
            "--plot-matches",
            metavar="FILE",
            help="Draw the matching locations of query and results into this .png or .jpg.",
        ),
    ] = None,
    moved: MovedPhotos = None,
    recipe: Recipe = None,
    params: ParamsFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Find the images of an index that show the same thing as the query photo."""
    steps = [f"rerank=[{', '.join(f'{{kind: {kind}}}' for kind in rerank)}]"] if rerank else []
    given = [*steps, *(overrides or ())]
    index = open_index(folder, photos=moved or (), recipe=recipe, params=params, overrides=given)
    if plot_matches is not None and not index.explains:
        raise ParamsError(
            f"--plot-matches {plot_matches}: {folder} holds global vectors, which have no locations; leave it out"
        )
    part = _read_box(box)
    import_torch()
    hits = index.search(query, top, part)
    if plot is not None:
        _plot(plot, query, part, hits)
    if plot_matches is not None:
        _plot_matches(plot_matches, query, index, hits)
    _show(hits, as_json)


def _plot(picture: Path, query: Path, box: "Box | None", hits: "list[Hit]") -> None:
    from lrcr.report.rankings import QueryTile, ResultTile, draw_rankings

    tiles = [ResultTile(hit.path, hit.image, hit.score) for hit in hits]
    draw_rankings(picture, [(QueryTile(query, query.name, box), tiles)])


def _plot_matches(picture: Path, query: Path, index: "PhotoIndex", hits: "list[Hit]") -> None:
    """Describe the hits again and draw where they match the query."""
    from lrcr.report.matches import PhotoKeypoints, ResultMatches, draw_matches

    drawn = []
    for hit in progress.over(hits, "describe results"):
        found = index.explain(hit)
        title = f"{hit.rank}. {hit.image}, {hit.score:.4f}"
        drawn.append(ResultMatches(PhotoKeypoints(hit.path, found.hit), title, found.matches))
    draw_matches(picture, PhotoKeypoints(query, hits[0].query.xy), drawn)


def _show(hits: "list[Hit]", as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "rank": hit.rank,
                "score": round(hit.score, 6),
                "image": hit.image,
                "label": hit.label,
                "path": str(hit.path),
            }
            for hit in hits
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("rank", "score", "image", "label")
    for hit in hits:
        table.add_row(str(hit.rank), f"{hit.score:.4f}", escape(hit.image), escape(hit.label or ""))
    Console().print(table)


def _read_box(text: str | None) -> "Box | None":
    if text is None:
        return None
    try:
        x0, y0, x1, y1 = map(float, text.split(","))
    except ValueError:
        raise ParamsError(f"--box {text}: not four numbers; write x0,y0,x1,y1 in pixels") from None
    return x0, y0, x1, y1
