"""`lrcr evaluate`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import lrcr.api
from lrcr.cli.options import (
    AsJson,
    CodebookDescriptors,
    CodebookPhotos,
    DescriptorsFile,
    ModelFile,
    Overrides,
    ParamsFile,
    Recipe,
    TolerateTruncated,
)
from lrcr.cli.outputs import require_no_folder
from lrcr.cli.terminal import progress
from lrcr.errors import ParamsError, counted

_SIZES = ("words_per_image", "dimensions", "bytes_per_image")


def evaluate(
    photos: Annotated[
        Path, typer.Argument(metavar="PHOTOS", help="Folder of photos with ground_truth.json or labels.csv.")
    ],
    model: ModelFile = None,
    codebook_photos: CodebookPhotos = None,
    recipe: Recipe = None,
    params: ParamsFile = None,
    overrides: Overrides = None,
    tolerate_truncated: TolerateTruncated = False,
    per_query: Annotated[
        Path | None,
        typer.Option(
            "--per-query", metavar="FILE", help="Write the AP of each query into this .csv, for `lrcr compare`."
        ),
    ] = None,
    descriptors: DescriptorsFile = None,
    codebook_descriptors: CodebookDescriptors = None,
    as_json: AsJson = False,
) -> None:
    """Measure mAP on a folder of photos with ground truth: extract, codebook, index, evaluate."""
    if per_query is not None:
        require_no_folder("per-query", per_query)
        if per_query.suffix != ".csv":
            raise ParamsError(
                f"--per-query {per_query}: the AP of each query is written as .csv; give a name that ends in .csv"
            )
    result = lrcr.api.evaluate(
        photos,
        model=model,
        codebook_photos=codebook_photos,
        descriptors=descriptors,
        codebook_descriptors=codebook_descriptors,
        recipe=recipe,
        params=params,
        overrides=overrides or (),
        tolerate_truncated=tolerate_truncated,
        progress=progress,
    )
    if as_json:
        typer.echo(json.dumps({**result.metrics, "cost": result.cost}, indent=2))
    else:
        _print(result.metrics, result.cost)
    if per_query is not None:
        from lrcr.evaluation.per_query import write_per_query

        write_per_query(per_query, result.per_query)


def _print(metrics: dict[str, Any], cost: dict[str, float]) -> None:
    Console().print(_table(metrics))
    if "reranked" in metrics:
        Console().print("after re-ranking:", _table(metrics["reranked"]), sep="\n")
    sizes = {name: metrics[name] for name in _SIZES if name in metrics}
    facts = {"queries": metrics["queries"], **sizes, **cost}
    Console().print("  ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in facts.items()))
    if "localisation" in metrics:
        Console().print(_describe(metrics["localisation"]))
    for setup, ties in metrics.get("ties", {}).items():
        share, expected = f"{ties['share']:.2f} %", f"{ties['expected_map']:.2f}"
        Console().print(f"{setup}: {share} of the relevant images have the score of others; expected mAP {expected}")


def _describe(localisation: dict[str, float]) -> str:
    descriptors, attention, area = (f"{localisation[name]:.1f} %" for name in ("descriptors", "attention", "area"))
    shares = f"{descriptors} of descriptors and {attention} of attention on the landmark, which covers {area}"
    return f"{shares} ({counted(int(localisation['images']), 'image')})"


def _table(metrics: dict[str, Any]) -> Table:
    from lrcr.evaluation.protocol import SETUPS

    table = Table("", *SETUPS)
    for name in ("map", "mp@1", "mp@5", "mp@10"):
        shown = name.replace("mp", "mP").replace("map", "mAP")
        values = (metrics[name][setup] for setup in SETUPS)
        table.add_row(shown, *("–" if value is None else f"{value:.2f}" for value in values))
    return table
