"""`lrcr export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrcr.cli.terminal import progress, say
from lrcr.errors import ParamsError
from lrcr.storage.artifacts import MANIFEST, read_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lrcr.features.exchange import ImageFeatures

_SUFFIXES = (".parquet", ".npz", ".h5")


def export(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="Index with vectors or local descriptors, data/descriptors/NAME/database, or model.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="A .parquet, .npz or .h5 (as hloc's); of a global model an .onnx."
        ),
    ],
    dataset: Annotated[
        Path | None,
        typer.Option(
            "--dataset", metavar="FOLDER", help="Of data/descriptors/NAME/database: data/NAME, which names its images."
        ),
    ] = None,
) -> None:
    """Write descriptors and vectors, or a global model, for other programs."""
    kind = _kind(source)
    if dataset is not None and kind != "descriptors":
        raise ParamsError(f"--dataset {dataset}: has an effect on extracted descriptors only; leave it out")
    if output.suffix == ".onnx":
        if kind is not None:
            raise ParamsError(
                f"{source}: of kind {kind}, not a model; name a model file, or write {', '.join(_SUFFIXES)}"
            )
        from lrcr.models.onnx import export_onnx  # imports torch, which takes seconds

        export_onnx(source, output)
        say(f"{output}: written")
        return
    if output.suffix not in _SUFFIXES:
        raise ParamsError(
            f"--output {output}: features are written as {', '.join(_SUFFIXES)}, models as .onnx; choose one of these"
        )
    from lrcr.features.exchange import write_npz, write_parquet
    from lrcr.features.hloc import write_features

    write = dict(zip(_SUFFIXES, (write_parquet, write_npz, write_features), strict=True))[output.suffix]
    images = write(output, progress.over(_features(source, kind, dataset), "export"))
    say(f"{output}: {images} images")


def _kind(source: Path) -> str | None:
    """The kind of artifact in a folder; None: it is no folder of one."""
    manifest = read_json(source / MANIFEST) if (source / MANIFEST).is_file() else None
    return manifest.get("kind") if isinstance(manifest, dict) else None


def _features(source: Path, kind: str | None, dataset: Path | None) -> "Iterator[ImageFeatures]":
    from lrcr.data.dataset import open_dataset
    from lrcr.retrieval.exporting import features_of_index, features_of_store
    from lrcr.retrieval.searcher import Searcher

    if kind is None:
        raise ParamsError(f"{source}: neither an index nor extracted descriptors; name a folder with a {MANIFEST}")
    if kind != "descriptors":
        return features_of_index(Searcher(source))
    if dataset is None:
        raise ParamsError(f"{source}: names no images; give the dataset with --dataset")
    return features_of_store(source, open_dataset(dataset))
