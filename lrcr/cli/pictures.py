"""`lrcr maps` and `lrcr rankings`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from lrcr.cli.terminal import progress, stderr
from lrcr.config.retrieval import ExtractParams
from lrcr.data.dataset import Photo, open_dataset
from lrcr.data.ranking import Ranking
from lrcr.errors import ParamsError
from lrcr.evaluation.evaluate import evaluate_ranking
from lrcr.models.factory import open_local_model
from lrcr.report.grading import choose_contrasts, choose_extremes, make_row
from lrcr.report.inspection import inspect_photo
from lrcr.report.maps import draw_maps
from lrcr.report.picture import picture_format
from lrcr.report.rankings import draw_rankings

_QUERIES = 6  # drawn unless others are asked for


def maps(
    photos: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Photos.")],
    model: Annotated[Path, typer.Option("--model", help="A model that `lrcr train` wrote.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="A folder of pictures, or for one photo a .png or .jpg.")
    ],
    baseline: Annotated[
        Path | None, typer.Option("--baseline", help="Another model, whose attention stands beside it.")
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option("--at", metavar="X,Y", help="Show filter and edges here, in pixels of the photo; repeatable."),
    ] = None,
    image_size: Annotated[
        int, typer.Option("--image-size", min=1, help="Longest side in pixels at which the model sees the photo.")
    ] = ExtractParams().image_size,
) -> None:
    """Draw what a model makes of photos: attention, and of its smoothing and graph what it has."""
    spots = [_read_spot(text) for text in at or ()]
    pictures = _name_pictures(photos, output)
    seen_by = open_local_model(model)
    compared_with = None if baseline is None else open_local_model(baseline)
    for path, picture in zip(progress.over(photos, "drawing maps", len(photos)), pictures, strict=True):
        photo = Photo(path, orient=True)
        other = None if compared_with is None else inspect_photo(compared_with, photo, image_size)
        draw_maps(picture, path.name, inspect_photo(seen_by, photo, image_size, spots), other)
    stderr.print(f"{output}: {len(pictures)} pictures" if len(pictures) > 1 else f"{pictures[0]}: drawn")


def rankings(
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Queries and ground truth: data/NAME.")],
    files: Annotated[list[Path], typer.Argument(metavar="RANKING", help="Rankings of them, .parquet.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture, a .png or .jpg.")],
    query: Annotated[
        list[int] | None,
        typer.Option("--query", min=0, help="Its number; repeatable. Without: those whose AP differs most."),
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many results of each.")] = 10,
) -> None:
    """Draw ranked lists of one or several methods below each other, each result framed by its grade."""
    opened = open_dataset(dataset)
    aps = [evaluate_ranking(file, dataset)["medium"].to_numpy(np.float64) for file in files]
    for number in query or ():
        if number >= len(opened.queries):
            raise ParamsError(
                f"--query {number}: {dataset} has the queries 0…{len(opened.queries) - 1}; choose of them"
            )
    extremes = choose_extremes(aps[0], _QUERIES, 0) if len(files) == 1 else choose_contrasts(aps[0], aps[-1], _QUERIES)
    methods = _tell_apart(files) if len(files) > 1 else ["query"]
    loaded = [Ranking.load(file) for file in files]
    rows = [
        make_row(opened, ranking, number, top, float(ap[number]), method)
        for number in query or extremes
        for ranking, ap, method in zip(loaded, aps, methods, strict=True)
    ]
    draw_rankings(output, rows, orient=opened.orient, progress=progress)
    stderr.print(f"{output}: {len(rows)} rankings")


def _tell_apart(files: Sequence[Path]) -> list[str]:
    """The files' names where they differ, else their paths."""
    names = [file.stem for file in files]
    return names if len(set(names)) == len(names) else [str(file) for file in files]


def _name_pictures(photos: Sequence[Path], output: Path) -> list[Path]:
    """Where the picture of each photo goes; neither onto a photo nor onto each other."""
    if output.suffix and not output.is_dir():
        picture_format(output, "maps")
        if len(photos) > 1:
            raise ParamsError(f"--output {output}: one picture for {len(photos)} photos; name a folder")
        pictures = [output]
    else:
        if output.is_file():
            raise ParamsError(f"--output {output}: is a file and no picture; name a folder, a .png or a .jpg")
        pictures = [output / f"{photo.stem}.png" for photo in photos]
    taken = {photo.resolve() for photo in photos}
    for picture in pictures:
        if picture.resolve() in taken:
            raise ParamsError(f"--output {output}: {picture} is, or would be, another's place; name another folder")
        taken.add(picture.resolve())
    return pictures


def _read_spot(text: str) -> tuple[float, float]:
    try:
        x, y = map(float, text.split(","))
    except ValueError:
        raise ParamsError(f"--at {text}: not two numbers; write x,y in pixels of the photo") from None
    return x, y
