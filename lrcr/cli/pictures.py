"""`lrcr maps`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from lrcr.cli.terminal import stderr, track
from lrcr.datasets.dataset import Photo
from lrcr.errors import ParamsError
from lrcr.models.zoo import open_model
from lrcr.params import ExtractParams
from lrcr.report.insight import look
from lrcr.report.maps import draw_maps
from lrcr.report.picture import picture_format


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
    seen_by = open_model(model)[0]
    compared_with = None if baseline is None else open_model(baseline)[0]
    for path, picture in zip(track(photos, "drawing maps", len(photos)), pictures, strict=True):
        photo = Photo(path, orient=True)
        other = None if compared_with is None else look(compared_with, photo, image_size)
        draw_maps(picture, path.name, look(seen_by, photo, image_size, spots), other)
    stderr.print(f"{output}: {len(pictures)} pictures" if len(pictures) > 1 else f"{pictures[0]}: drawn")


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
