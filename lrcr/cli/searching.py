"""`lrcr index` and `lrcr search`."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lrcr.cli.options import (
    AsJson,
    CodebookPhotos,
    ModelFile,
    Overrides,
    ParamsFile,
    Recipe,
    params_of_search,
    params_without_training,
)
from lrcr.cli.terminal import progress, say
from lrcr.errors import ParamsError
from lrcr.storage.artifacts import MANIFEST, staged_folder

if TYPE_CHECKING:
    from lrcr.features.extractor import Extractor
    from lrcr.features.store import Descriptors
    from lrcr.retrieval.searcher import Result, Searcher


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
) -> None:
    """Build an index of a folder of photos."""
    if output.exists() and not (output / MANIFEST).is_file():
        raise ParamsError(f"--output {output}: exists and is not an index; name another folder")
    chosen = params_without_training(params, overrides, recipe, model, searches=False)
    from lrcr.pipeline import prepare  # imports torch, which takes seconds
    from lrcr.retrieval.searcher import Searcher

    with (
        prepare(chosen, photos, model=model, fit=codebook_photos, progress=progress) as ready,
        staged_folder(output) as temporary,
    ):
        shutil.copytree(ready.index, temporary, dirs_exist_ok=True)
    say(f"{output}: {Searcher(output).index.summary}")


def search(
    folder: Annotated[Path, typer.Argument(metavar="INDEX", help="Index written by `lrcr index`.")],
    query: Annotated[Path, typer.Argument(metavar="QUERY", help="The query photo.")],
    top: Annotated[int, typer.Option("--top", min=1, help="Number of images to print.")] = 10,
    box: Annotated[
        str | None,
        typer.Option(
            "--box", metavar="X0,Y0,X1,Y1", help="Search for this part of the query photo, in pixels of the file."
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
    recipe: Recipe = None,
    params: ParamsFile = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Find the images of an index that show the same thing as the query photo."""
    from lrcr.data.dataset import Photo
    from lrcr.report.rankings import QueryTile, ResultTile, draw_rankings
    from lrcr.retrieval.searcher import Searcher

    chosen = params_of_search(params, overrides, recipe)
    searcher = Searcher(folder, chosen)
    if plot_matches is not None and not searcher.index.explains:
        raise ParamsError(
            f"--plot-matches {plot_matches}: {folder} holds global vectors, which have no locations; leave it out"
        )
    photo = Photo(query, _read_box(box), orient=True)
    from lrcr.retrieval.queries import open_extractor  # imports torch, which takes seconds

    extractor = open_extractor(searcher)
    described = extractor.describe([photo])
    results = searcher.results(searcher.search(described, top))
    if plot is not None:
        tiles = [ResultTile(result.path, result.image, result.score) for result in results]
        draw_rankings(plot, [(QueryTile(query, query.name, photo.box), tiles)])
    if plot_matches is not None:
        _plot_matches(plot_matches, searcher, extractor, (query, described), results)
    _show(results, as_json)


def _plot_matches(
    picture: Path,
    searcher: "Searcher",
    extractor: "Extractor",
    query: "tuple[Path, Descriptors]",
    results: "list[Result]",
) -> None:
    """Extract the descriptors of the results again and draw where they match the query."""
    from lrcr.data.dataset import Photo
    from lrcr.report.matches import PhotoKeypoints, ResultMatches, draw_matches

    explained = []
    for result in progress.over(results, "describe results"):
        found = extractor.describe([Photo(result.path, orient=True, regions=result.regions)])
        title = f"{result.rank}. {result.image}, {result.score:.4f}"
        explained.append(
            ResultMatches(PhotoKeypoints(result.path, found.xy), title, searcher.index.explain(query[1], found))
        )
    draw_matches(picture, PhotoKeypoints(query[0], query[1].xy), explained)


def _show(results: "list[Result]", as_json: bool) -> None:
    if as_json:
        rows = [{**asdict(result), "score": round(result.score, 6), "path": str(result.path)} for result in results]
        for row in rows:
            del row["regions"]
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("rank", "score", "image", "label")
    for result in results:
        table.add_row(str(result.rank), f"{result.score:.4f}", escape(result.image), escape(result.label or ""))
    Console().print(table)


def _read_box(text: str | None) -> tuple[float, float, float, float] | None:
    if text is None:
        return None
    try:
        x0, y0, x1, y1 = map(float, text.split(","))
    except ValueError:
        raise ParamsError(f"--box {text}: not four numbers; write x0,y0,x1,y1 in pixels") from None
    return x0, y0, x1, y1
