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
    BoxText,
    CodebookPhotos,
    ExcludeSelf,
    MinConfidence,
    Mirror,
    ModelFile,
    MovedPhotos,
    Output,
    Overrides,
    ParamsFile,
    Plot,
    PlotMatches,
    Queries,
    Recipe,
    RerankSteps,
    Rotations,
    TolerateTruncated,
    Top,
)
from lrcr.cli.queries import QueryPhoto, find_queries
from lrcr.cli.results import print_results, require_results_file, write_results
from lrcr.cli.terminal import import_torch, progress, say
from lrcr.errors import ImageError, ParamsError

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
    queries: Queries,
    top: Top = 10,
    box: BoxText = None,
    rerank: RerankSteps = None,
    rotations: Rotations = False,
    mirror: Mirror = False,
    exclude_self: ExcludeSelf = False,
    min_confidence: MinConfidence = None,
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
    _refuse_two_ways(rerank, overrides, output, as_json=as_json)
    steps = [f"rerank=[{', '.join(f'{{kind: {kind}}}' for kind in rerank)}]"] if rerank else []
    given = [*steps, *(overrides or ())]
    index = open_index(folder, photos=moved or (), recipe=recipe, params=params, overrides=given)
    part, photos = _read_box(box), find_queries(queries)
    _check(folder, index, len(photos), box, plot_matches, turns=rotations or mirror)
    _check_files(output, plot, plot_matches)
    if min_confidence is not None:
        index.require_confidence(min_confidence)
    import_torch()
    find = partial(
        index.search,
        top=top,
        box=part,
        rotations=rotations,
        mirror=mirror,
        exclude_self=exclude_self,
        min_confidence=min_confidence,
        tolerate_truncated=tolerate_truncated,
    )
    rows: list[dict[str, Any]] = []
    drawn = []
    for query, hits in _search_all(find, photos):
        rows += (_row(query, hit) for hit in hits)
        if not hits:
            say(f"{query}: no match")
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
    if not index.explains:
        raise ParamsError(
            f"--plot-matches {plot_matches}: {folder} holds global vectors, which have no locations; leave it out"
        )
    if queries > 1 or turns:
        raise ParamsError(f"--plot-matches {plot_matches}: needs one query that is not turned or mirrored; give one")


def _check_files(output: Path | None, plot: Path | None, plot_matches: Path | None) -> None:
    """Refuse files whose suffix does not say what to write, before anything is searched."""
    if output is not None:
        require_results_file(output)
    pictures = {"rankings": plot, "matches": plot_matches}
    for subject, picture in pictures.items():
        if picture is not None:
            from lrcr.report.picture import picture_format  # imports matplotlib

            picture_format(picture, subject)


def _refuse_two_ways(
    rerank: list[str] | None, overrides: list[str] | None, output: Path | None, *, as_json: bool
) -> None:
    """Refuse options of which one would decide without a word."""
    for override in overrides or ():
        if rerank and override.partition("=")[0].partition(".")[0] == "rerank":
            raise ParamsError(f"--set {override}: --rerank {rerank[0]} names the steps too; leave one of the two out")
    if output is not None and as_json:
        raise ParamsError(f"--output {output}: --json prints the results instead; leave one of the two out")


def _row(query: Path, hit: "Hit") -> dict[str, Any]:
    return {
        "query": str(query),
        "rank": hit.rank,
        "score": round(hit.score, 6),
        "confidence": None if hit.confidence is None else round(hit.confidence, 6),
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
