"""`lrcr index` and `lrcr search`."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
from lrcr.cli.queries import QueryPhoto, find_queries
from lrcr.cli.results import print_results, require_results_file, write_results
from lrcr.cli.terminal import import_torch, progress, say
from lrcr.errors import ImageError, ParamsError

if TYPE_CHECKING:
    from lrcr.data.images import Box
    from lrcr.retrieval.photos import Hit, PhotoIndex

Queries = Annotated[
    list[Path], typer.Argument(metavar="QUERY...", help="Query photos, folders of photos, or .txt lists of photos.")
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
    queries: Queries,
    top: Top = 10,
    box: BoxText = None,
    rerank: RerankSteps = None,
    rotations: Rotations = False,
    mirror: Mirror = False,
    exclude_self: ExcludeSelf = False,
    output: Output = None,
    plot: Plot = None,
    plot_matches: PlotMatches = None,
    moved: MovedPhotos = None,
    recipe: Recipe = None,
    params: ParamsFile = None,
    overrides: Overrides = None,
    tolerate_truncated: TolerateTruncated = False,
    as_json: AsJson = False,
) -> None:
    """Find the images of an index that show the same thing as the query photos."""
    steps = [f"rerank=[{', '.join(f'{{kind: {kind}}}' for kind in rerank)}]"] if rerank else []
    given = [*steps, *(overrides or ())]
    index = open_index(folder, photos=moved or (), recipe=recipe, params=params, overrides=given)
    part, photos = _read_box(box), find_queries(queries)
    _check(folder, index, len(photos), box, plot_matches, turns=rotations or mirror)
    if output is not None:
        require_results_file(output)
    import_torch()
    find = partial(
        index.search,
        top=top,
        box=part,
        rotations=rotations,
        mirror=mirror,
        exclude_self=exclude_self,
        tolerate_truncated=tolerate_truncated,
    )
    rows: list[dict[str, Any]] = []
    drawn = []
    for query, hits in _search_all(find, photos):
        rows += (_row(query, hit) for hit in hits)
        if plot is not None:
            drawn.append((query, hits))
        if plot_matches is not None:
            _plot_matches(plot_matches, query, index, hits)
    if plot is not None:
        _plot(plot, part, drawn)
    if output is not None:
        write_results(output, rows)
    elif as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        print_results(rows, several=len(photos) > 1, versions=rotations or mirror)


def _search_all(find: Callable[[Path], "list[Hit]"], queries: list[QueryPhoto]) -> Iterator[tuple[Path, "list[Hit]"]]:
    for query in progress.over(queries, "search") if len(queries) > 1 else queries:
        try:
            yield query.path, find(query.path)
        except ImageError as error:
            if query.named:
                raise
            say(f"passed over: {error}")


def _check(
    folder: Path, index: "PhotoIndex", queries: int, box: str | None, plot_matches: Path | None, *, turns: bool
) -> None:
    """Refuse options that do not fit the index or the number of queries."""
    if box is not None and queries > 1:
        raise ParamsError(f"--box {box}: {queries} queries, but a box belongs to one photo; give one query")
    if plot_matches is None:
        return
    if not index.explains and not index.verifies:
        raise ParamsError(
            f"--plot-matches {plot_matches}: {folder} holds global vectors, which have no locations; leave it out"
        )
    if queries > 1 or turns:
        raise ParamsError(f"--plot-matches {plot_matches}: needs one query that is not turned or mirrored; give one")


def _row(query: Path, hit: "Hit") -> dict[str, Any]:
    return {
        "query": str(query),
        "rank": hit.rank,
        "score": round(hit.score, 6),
        "image": hit.image,
        "label": hit.label,
        "path": str(hit.path),
        "version": hit.version,
    }


def _plot(picture: Path, box: "Box | None", results: "list[tuple[Path, list[Hit]]]") -> None:
    from lrcr.report.rankings import QueryTile, ResultTile, draw_rankings

    rows = [
        (QueryTile(query, query.name, box), [ResultTile(hit.path, hit.image, hit.score) for hit in hits])
        for query, hits in results
    ]
    draw_rankings(picture, rows)


def _plot_matches(picture: Path, query: Path, index: "PhotoIndex", hits: "list[Hit]") -> None:
    """Draw where the hits match the query: the inliers, or where the index owns no local descriptors, the words."""
    from lrcr.report.matches import PhotoKeypoints, ResultMatches, draw_matches

    if not hits:
        raise ParamsError(f"--plot-matches {picture}: no image matches {query}; leave it out")
    drawn, unit = [], "inliers" if index.verifies else "words in common"
    for hit in progress.over(hits, "match results"):
        found = index.verify(hit) if index.verifies else index.explain(hit)
        title = f"{hit.rank}. {hit.image}, {hit.score:.4f}"
        drawn.append(ResultMatches(PhotoKeypoints(hit.path, found.hit), title, found.matches, unit))
    draw_matches(picture, PhotoKeypoints(query, hits[0].query.xy), drawn)


def _read_box(text: str | None) -> "Box | None":
    if text is None:
        return None
    try:
        x0, y0, x1, y1 = map(float, text.split(","))
    except ValueError:
        raise ParamsError(f"--box {text}: not four numbers; write x0,y0,x1,y1 in pixels") from None
    return x0, y0, x1, y1
