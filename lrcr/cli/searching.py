"""`lrcr index` and `lrcr search`."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrcr.api import build_index, open_index
from lrcr.cli.features import find_images, require_photos, search_features
from lrcr.cli.options import (
    AsJson,
    CodebookDescriptors,
    CodebookPhotos,
    DescriptorsFile,
    ModelFile,
    MovedPhotos,
    Overrides,
    ParamsFile,
    Recipe,
    TolerateTruncated,
    check_descriptors,
)
from lrcr.cli.queries import QueryPhoto, find_queries
from lrcr.cli.results import PARTIAL, print_results, require_results_file, write_results
from lrcr.cli.terminal import import_torch, progress, say
from lrcr.config.given import params_of_descriptors
from lrcr.errors import ImageError, ParamsError

if TYPE_CHECKING:
    from lrcr.data.images import Box
    from lrcr.retrieval.photos import Hit, PhotoIndex

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


def search(
    folder: Annotated[Path, typer.Argument(metavar="INDEX", help="Index written by `lrcr index`.")],
    queries: Queries = None,
    top: Top = 10,
    box: BoxText = None,
    rerank: RerankSteps = None,
    rotations: Rotations = False,
    mirror: Mirror = False,
    exclude_self: ExcludeSelf = False,
    shards: Shards = 1,
    allow_partial: AllowPartial = False,
    output: Output = None,
    plot: Plot = None,
    plot_matches: PlotMatches = None,
    moved: MovedPhotos = None,
    descriptors: DescriptorsFile = None,
    recipe: Recipe = None,
    params: ParamsFile = None,
    overrides: Overrides = None,
    tolerate_truncated: TolerateTruncated = False,
    as_json: AsJson = False,
) -> None:
    """Find the images of an index that show the same thing as the query photos."""
    steps = [f"rerank=[{', '.join(f'{{kind: {kind}}}' for kind in rerank)}]"] if rerank else []
    given = [*steps, *(overrides or ())]
    opened = partial(open_index, folder, shards=shards, allow_partial=allow_partial)
    index = opened(photos=moved or (), recipe=recipe, params=params, overrides=given)
    part = _read_box(box)
    of_photos = {"box": box, "rotations": rotations, "mirror": mirror, "tolerate-truncated": tolerate_truncated}
    check_descriptors(descriptors, None, of_photos)
    photos = find_queries(queries or ()) if descriptors is None else find_images(descriptors, queries)
    if descriptors is not None:
        require_photos({"plot": plot, "plot-matches": plot_matches}, moved)
    _check(folder, index, len(photos), box, plot_matches, turns=rotations or mirror)
    if output is not None:
        require_results_file(output)
    find: Callable[[Path], list[Hit]]
    if descriptors is None:
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
    else:
        find = search_features(index, descriptors, top, exclude_self=exclude_self)
    rows: list[dict[str, Any]] = []
    drawn = []
    for query, hits in _search_all(find, photos):
        rows += (_row(query, hit, allow_partial=allow_partial) for hit in hits)
        shown = query if descriptors is None else index.searcher.roots[0] / query
        if plot is not None:
            drawn.append((shown, hits))
        if plot_matches is not None:
            _plot_matches(plot_matches, shown, index, hits)
    if plot is not None:
        _plot(plot, part, drawn)
    _show(rows, output, as_json=as_json, several=len(photos) > 1, versions=rotations or mirror)


def _show(rows: list[dict[str, Any]], output: Path | None, *, as_json: bool, several: bool, versions: bool) -> None:
    if output is not None:
        write_results(output, rows)
    elif as_json:
        typer.echo(json.dumps(rows, indent=2))
    else:
        print_results(rows, several=several, versions=versions)


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
    if not index.explains:
        raise ParamsError(
            f"--plot-matches {plot_matches}: {folder} holds global vectors, which have no locations; leave it out"
        )
    if queries > 1 or turns:
        raise ParamsError(f"--plot-matches {plot_matches}: needs one query that is not turned or mirrored; give one")


def _row(query: Path, hit: "Hit", *, allow_partial: bool) -> dict[str, Any]:
    return {
        "query": str(query),
        "rank": hit.rank,
        "score": round(hit.score, 6),
        "image": hit.image,
        "label": hit.label,
        "path": str(hit.path),
        "version": hit.version,
        **({PARTIAL: hit.unsearched} if allow_partial else {}),
    }


def _plot(picture: Path, box: "Box | None", results: "list[tuple[Path, list[Hit]]]") -> None:
    from lrcr.report.rankings import QueryTile, ResultTile, draw_rankings

    rows = [
        (QueryTile(query, query.name, box), [ResultTile(hit.path, hit.image, hit.score) for hit in hits])
        for query, hits in results
    ]
    draw_rankings(picture, rows)


def _plot_matches(picture: Path, query: Path, index: "PhotoIndex", hits: "list[Hit]") -> None:
    """Describe the hits again and draw where they match the query."""
    from lrcr.report.matches import PhotoKeypoints, ResultMatches, draw_matches

    if not hits:
        raise ParamsError(f"--plot-matches {picture}: no image matches {query}; leave it out")
    drawn = []
    for hit in progress.over(hits, "describe results"):
        found = index.explain(hit)
        title = f"{hit.rank}. {hit.image}, {hit.score:.4f}"
        drawn.append(ResultMatches(PhotoKeypoints(hit.path, found.hit), title, found.matches))
    draw_matches(picture, PhotoKeypoints(query, hits[0].query.xy), drawn)


def _read_box(text: str | None) -> "Box | None":
    if text is None:
        return None
    try:
        x0, y0, x1, y1 = map(float, text.split(","))
    except ValueError:
        raise ParamsError(f"--box {text}: not four numbers; write x0,y0,x1,y1 in pixels") from None
    return x0, y0, x1, y1
