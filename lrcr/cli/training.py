"""`lrcr train`."""

from pathlib import Path
from typing import Annotated

import typer

import lrcr.api
from lrcr.cli.options import Overrides, ParamsFile, Recipe, TolerateTruncated
from lrcr.cli.outputs import require_no_folder
from lrcr.cli.terminal import progress, say


def train(
    folder: Annotated[Path, typer.Argument(metavar="PHOTOS", help="Folder of photos with labels.csv (image,label).")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Model file to write.")],
    val: Annotated[
        Path | None,
        typer.Option(
            "--val",
            metavar="FOLDER",
            help="Folder of validation photos; default: hold out 20 % of the landmarks.",
        ),
    ] = None,
    recipe: Recipe = None,
    params: ParamsFile = None,
    overrides: Overrides = None,
    tolerate_truncated: TolerateTruncated = False,
) -> None:
    """Train a model on a folder of labelled photos."""

    require_no_folder("output", output)
    validated: list[dict[str, float]] = []

    def log(values: dict[str, float]) -> None:
        say("  ".join(f"{name} {value:.4g}" for name, value in values.items()))
        if "validation_map" in values:
            validated.append(values)

    lrcr.api.train(
        folder,
        output,
        val=val,
        recipe=recipe,
        params=params,
        overrides=overrides or (),
        tolerate_truncated=tolerate_truncated,
        log=log,
        progress=progress,
    )
    say(f"{output}: model written{_gain(validated)}")


def _gain(validated: list[dict[str, float]]) -> str:
    """What the training is worth on the validation photos; empty if nothing was validated."""
    if not validated:
        return ""
    start, best = validated[0]["validation_map"], max(validated, key=lambda values: values["validation_map"])
    end = f"{best['validation_map']:.1f} after epoch {best['epoch']:.0f}"
    return f"; best mAP on the validation photos: {end} ({start:.1f} at the start)"
