"""The command that searches an index."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrcr.api import open_index
from lrcr.cli.features import find_images, require_photos, search_features
from lrcr.cli.options import (
    AllowPartial,
    AsJson,
    BoxText,
    DescriptorsFile,
    ExcludeSelf,
    MinConfidence,
    Mirror,
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
    Shards,
    TolerateTruncated,
    Top,
)
from lrcr.cli.outputs import require_output, require_pictures
from lrcr.cli.queries import QueryPhoto, find_queries
from lrcr.cli.results import PARTIAL, SUFFIXES, print_results, write_results
from lrcr.cli.terminal import import_torch, progress, say
from lrcr.cli.wording import name_options, name_tolerance
from lrcr.config.given import check_descriptors
from lrcr.errors import ImageError, ParamsError

if TYPE_CHECKING:
    from lrcr.data.images import Box
    from lrcr.retrieval.hits import Hit
    from lrcr.retrieval.photos import PhotoIndex


@name_options("min_confidence", "shards")
def search(
    folder: Annotated[Path, typer.Argument(metavar="INDEX", help="Index written by `lrcr index`.")],
    queries: Queries = None,
    top: Top = 10,
    box: BoxText = None,
    rerank: RerankSteps = None,
    rotations: Rotations = False,
    mirror: Mirror = False,
    exclude_self: ExcludeSelf = False,
    min_confidence: MinConfidence = None,
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
    part, given = _read_box(box), _steps(rerank, overrides)
    _check_files(output, plot, plot_matches, as_json=as_json)
    if allow_partial and shards == 1:
        raise ParamsError("--allow-partial: has no effect without --shards of at least 2; give both")
    opened = partial(open_index, folder, shards=shards, allow_partial=allow_partial)
    index = opened(photos=moved or (), recipe=recipe, params=params, overrides=given)
    of_photos = {"box": box, "rotations": rotations, "mirror": mirror, "tolerate-truncated": tolerate_truncated}
    check_descriptors(descriptors, None, of_photos)
    photos = find_queries(queries or ()) if descriptors is None else find_images(descriptors, queries)
    if descriptors is not None:
        require_photos({"plot": plot, "plot-matches": plot_matches}, moved)
    _check(folder, index, len(photos), box, plot_matches, turns=rotations or mirror)
    if min_confidence is not None:
        index.require_confidence(min_confidence)
    shared: dict[str, Any] = {"top": top, "exclude_self": exclude_self, "min_confidence": min_confidence}
    find: Callable[[Path], list[Hit]]
    if descriptors is None:
        import_torch()
        shared |= {"rotations": rotations, "mirror": mirror, "tolerate_truncated": tolerate_truncated}
        find = partial(index.search, box=part, **shared)
    else:
        find = search_features(index, descriptors, **shared)
    rows: list[dict[str, Any]] = []
    drawn = []
    for query, hits in _search_all(find, photos, tolerated=tolerate_truncated):
        rows += (_row(query, hit, allow_partial=allow_partial) for hit in hits)
        if not hits:
            say(f"{query}: no match")
        shown = query if descriptors is None else Path(*index.searcher.roots[:1], query)
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


def _search_all(
    find: Callable[[Path], "list[Hit]"], queries: list[QueryPhoto], *, tolerated: bool
) -> Iterator[tuple[Path, "list[Hit]"]]:
    for query in progress.over(queries, "search") if len(queries) > 1 else queries:
        try:
            with name_tolerance(tolerated=tolerated):
                hits = find(query.path)
            yield query.path, hits
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


def _check_files(output: Path | None, plot: Path | None, plot_matches: Path | None, *, as_json: bool) -> None:
    """Refuse files that cannot be written as asked, before anything is searched, and files beside --json."""
    if output is not None and as_json:
        raise ParamsError(f"--output {output}: --json prints the results instead; leave one of the two out")
    require_output(output, "results", SUFFIXES)
    require_pictures({"plot": (plot, "rankings"), "plot-matches": (plot_matches, "matches")})


def _steps(rerank: list[str] | None, overrides: list[str] | None) -> list[str]:
    """The overrides, with the steps of --rerank, unless both name steps."""
    for override in overrides or ():
        if rerank and override.partition("=")[0].partition(".")[0] == "rerank":
            raise ParamsError(f"--set {override}: --rerank {rerank[0]} names the steps too; leave one of the two out")
    steps = [f"rerank=[{', '.join(f'{{kind: {kind}}}' for kind in rerank)}]"] if rerank else []
    return [*steps, *(overrides or ())]


def _row(query: Path, hit: "Hit", *, allow_partial: bool) -> dict[str, Any]:
    return {
        "query": str(query),
        "rank": hit.rank,
        "score": round(hit.score, 6),
        "confidence": None if hit.confidence is None else round(hit.confidence, 6),
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
