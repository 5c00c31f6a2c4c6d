"""`lrcr index` and `lrcr search`."""

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from lrcr.cli.options import AsJson, FitFolder, ModelFile, Overrides, ParamsFile, params_without_training
from lrcr.cli.terminal import progress, stderr
from lrcr.data.dataset import ArchivedImage, Photo, image_files
from lrcr.errors import ParamsError
from lrcr.features.extraction import Extractor
from lrcr.features.store import Descriptors
from lrcr.pipeline import prepare
from lrcr.report.matches import Explained, Place, draw_matches
from lrcr.report.rankings import QueryTile, ResultTile, draw_rankings
from lrcr.retrieval.build import MODEL
from lrcr.retrieval.searcher import Searcher
from lrcr.storage.artifacts import staged_folder


def index(
    photos: Annotated[Path, typer.Argument(help="Photos, in folders as they are.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the index; replaced if it is one.")],
    model: ModelFile = None,
    fit: FitFolder = None,
    params: ParamsFile = None,
    overrides: Overrides = None,
) -> None:
    """Build an index of a folder of photos."""
    if output.exists() and not (output / "manifest.json").is_file():
        raise ParamsError(f"--output {output}: exists and is no index; name another folder")
    chosen = params_without_training(params, overrides, model)
    with prepare(chosen, photos, model=model, fit=fit, progress=progress) as ready, staged_folder(output) as temporary:
        shutil.copytree(ready.index, temporary, dirs_exist_ok=True)
    stderr.print(f"{output}: {Searcher(output).summary}")


def search(
    folder: Annotated[Path, typer.Argument(metavar="INDEX", help="An index that `lrcr index` wrote.")],
    query: Annotated[Path, typer.Argument(help="The query photo.")],
    top: Annotated[int, typer.Option("--top", min=1, help="How many images to show.")] = 10,
    box: Annotated[
        str | None,
        typer.Option("--box", metavar="X0,Y0,X1,Y1", help="What to look for, in pixels of the stored photo."),
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", help="Draw query and results into this .png or .jpg.")
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option("--explain", help="Draw what query and results share into this .png or .jpg."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the photos of an index that show what the query photo shows."""
    searcher = Searcher(folder)
    if explain is not None and not searcher.explains:
        raise ParamsError(f"--explain {explain}: {folder} holds global vectors, which have no places; leave it out")
    photo = Photo(query, _read_box(box), orient=True)
    extractor = Extractor(searcher.params, folder / MODEL)
    described = extractor.describe([photo])
    images, scores = searcher.search(described, top).of_query(0)
    found = searcher.images.iloc[images]
    files = list(image_files(Path(), found))
    results = [
        {
            "rank": rank,
            "score": round(float(score), 6),
            "image": row["name"],
            "label": _text(row["label"]),
            "path": str(file),
        }
        for rank, (score, row, file) in enumerate(zip(scores, found.to_dict("records"), files, strict=True), 1)
    ]
    if sheet is not None:
        tiles = [
            ResultTile(file, result["image"], result["score"]) for file, result in zip(files, results, strict=True)
        ]
        draw_rankings(sheet, [(QueryTile(query, query.name, photo.box), tiles)])
    if explain is not None:
        _explain(explain, searcher, extractor, (query, described), list(zip(files, results, strict=True)))
    _show(results, as_json)


def _explain(
    picture: Path,
    searcher: Searcher,
    extractor: Extractor,
    query: tuple[Path, Descriptors],
    results: list[tuple[Path | ArchivedImage, dict[str, Any]]],
) -> None:
    """Describe the returned photos again and draw where they match the query."""
    explained = []
    for file, result in progress.over(results, "describe results", len(results)):
        found = extractor.describe([Photo(file, orient=True)])
        title = f"{result['rank']}. {result['image']}, {result['score']:.4f}"
        place = Place(file, found.xy)
        explained.append(Explained(place, title, searcher.explain(query[1], found)))
    draw_matches(picture, Place(query[0], query[1].xy), explained)


def _show(results: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(results, indent=2))
        return
    table = Table("rank", "score", "image", "label")
    for result in results:
        table.add_row(str(result["rank"]), f"{result['score']:.4f}", result["image"], result["label"] or "")
    Console().print(table)


def _text(label: Any) -> str | None:
    return None if pd.isna(label) else str(label)


def _read_box(text: str | None) -> tuple[float, float, float, float] | None:
    if text is None:
        return None
    try:
        x0, y0, x1, y1 = map(float, text.split(","))
    except ValueError:
        raise ParamsError(f"--box {text}: not four numbers; write x0,y0,x1,y1 in pixels") from None
    return x0, y0, x1, y1
