"""`lrcr plot maps` and `lrcr plot rankings`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lrcr.cli.terminal import progress, say
from lrcr.errors import ParamsError, counted

_QUERIES = 6  # drawn without --query


def maps(
    photos: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Photos.")],
    model: Annotated[Path, typer.Option("--model", metavar="FILE", help="Model file of `lrcr train`.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="PATH", help="A folder for the pictures, or for one photo a .png or .jpg."
        ),
    ],
    baseline: Annotated[
        Path | None,
        typer.Option("--baseline", metavar="FILE", help="Another model, whose attention is drawn next to it."),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(
            "--at", metavar="X,Y", help="Draw filter and edges at this location, in pixels of the photo; repeatable."
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            "--image-size", min=1, help="Longest side of the network's input in pixels; default: extract.image_size."
        ),
    ] = None,
) -> None:
    """Draw the maps of a model for photos: attention, and those of smoothing and graph if it has them."""
    spots = [_read_spot(text) for text in at or ()]
    pictures = _name_pictures(photos, output)
    from lrcr.config.retrieval import ExtractParams
    from lrcr.data.dataset import Photo
    from lrcr.models.factory import open_local_model  # imports torch, which takes seconds
    from lrcr.report.inspection import inspect_photo
    from lrcr.report.maps import draw_maps

    size = image_size or ExtractParams().image_size
    seen_by = open_local_model(model)
    compared_with = None if baseline is None else open_local_model(baseline)
    for path, picture in zip(progress.over(photos, "draw maps"), pictures, strict=True):
        photo = Photo(path, orient=True)
        other = None if compared_with is None else inspect_photo(compared_with, photo, size)
        draw_maps(picture, path.name, inspect_photo(seen_by, photo, size, spots), other)
    say(f"{output}: {len(pictures)} pictures" if len(pictures) > 1 else f"{pictures[0]}: written")


def rankings(
    dataset: Annotated[
        Path, typer.Argument(metavar="DATASET", help="Dataset with queries and ground truth: data/NAME.")
    ],
    files: Annotated[list[Path], typer.Argument(metavar="RANKING", help="Rankings of its queries, .parquet.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Picture to write, a .png or .jpg.")],
    query: Annotated[
        list[int] | None,
        typer.Option("--query", min=0, help="Number of a query; repeatable. Default: six queries, chosen by AP."),
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Results per ranking.")] = 10,
) -> None:
    """Draw rankings of one or several methods below each other; the colour of a frame is the grade of the result."""
    import numpy as np

    from lrcr.data.dataset import open_dataset
    from lrcr.data.ranking import Ranking
    from lrcr.evaluation.evaluate import evaluate_ranking
    from lrcr.report.grading import choose_contrasts, choose_extremes, make_row
    from lrcr.report.rankings import draw_rankings

    opened = open_dataset(dataset)
    aps = [evaluate_ranking(file, dataset)["medium"].to_numpy(np.float64) for file in files]
    for number in query or ():
        if number >= len(opened.queries):
            raise ParamsError(
                f"--query {number}: {dataset} has queries 0…{len(opened.queries) - 1}; choose one of these"
            )
    extremes = choose_extremes(aps[0], _QUERIES, 0) if len(files) == 1 else choose_contrasts(aps[0], aps[-1], _QUERIES)
    methods = _name_methods(files) if len(files) > 1 else ["query"]
    loaded = [Ranking.load(file) for file in files]
    rows = [
        make_row(opened, ranking, number, top, float(ap[number]), method)
        for number in query or extremes
        for ranking, ap, method in zip(loaded, aps, methods, strict=True)
    ]
    draw_rankings(output, rows, orient=opened.orient, progress=progress)
    say(f"{output}: {counted(len(rows), 'ranking')}")


def _name_methods(files: Sequence[Path]) -> list[str]:
    """The names of the files if they differ, else their paths."""
    names = [file.stem for file in files]
    return names if len(set(names)) == len(names) else [str(file) for file in files]


def _name_pictures(photos: Sequence[Path], output: Path) -> list[Path]:
    """The path of the picture of each photo; a path that would overwrite a photo or another picture is refused."""
    from lrcr.report.picture import picture_format

    if output.suffix and not output.is_dir():
        picture_format(output, "maps")
        if len(photos) > 1:
            raise ParamsError(f"--output {output}: one picture, but {len(photos)} photos; name a folder")
        pictures = [output]
    else:
        if output.is_file():
            raise ParamsError(f"--output {output}: is a file, but not a picture; name a folder, a .png or a .jpg")
        pictures = [output / f"{photo.stem}.png" for photo in photos]
    taken = {photo.resolve() for photo in photos}
    for picture in pictures:
        if picture.resolve() in taken:
            raise ParamsError(
                f"--output {output}: {picture} would overwrite a photo or another picture; name another folder"
            )
        taken.add(picture.resolve())
    return pictures


def _read_spot(text: str) -> tuple[float, float]:
    try:
        x, y = map(float, text.split(","))
    except ValueError:
        raise ParamsError(f"--at {text}: not two numbers; write x,y in pixels of the photo") from None
    return x, y
