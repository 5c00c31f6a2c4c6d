"""`lrcr inspect` and `lrcr verify`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from lrcr.cli.terminal import progress
from lrcr.errors import ArtifactError, counted
from lrcr.storage.artifacts import MANIFEST, read_json


def inspect(
    file: Annotated[
        Path,
        typer.Argument(metavar="ARTIFACT", help="A dataset, model, store of descriptors, codebook, index, ranking …"),
    ],
    images: Annotated[
        bool, typer.Option("--images", help="List the names of the images of an index or a features file.")
    ] = False,
) -> None:
    """Print what an artifact is, what it was made from and what it contains."""
    if images:
        typer.echo("".join(f"{name}\n" for name in _list_images(file)), nl=False)
        return
    Console().print_json(json.dumps(_describe(file)))


def verify(folder: Annotated[Path, typer.Argument(metavar="INDEX", help="Index written by `lrcr index`.")]) -> None:
    """Compare every file of an index with the hash in its manifest."""
    from lrcr.retrieval.contents import open_steadily
    from lrcr.retrieval.searcher import Searcher

    def check() -> Searcher:
        searcher = Searcher(folder)
        searcher.verify(progress)
        return searcher

    searcher = open_steadily(folder, check)
    typer.echo(f"{folder}: {counted(searcher.index.images, 'image')}, all files are intact")


def _list_images(path: Path) -> list[str]:
    if path.is_file():
        from lrcr.features.hloc import list_images

        return list_images(path)
    from lrcr.retrieval.searcher import Searcher

    names: list[str] = Searcher(path).images["name"].tolist()
    return names


def _describe(path: Path) -> Any:
    from lrcr.data.dataset import DESCRIPTION, open_dataset

    if not path.exists():
        raise ArtifactError(f"{path}: no such file or folder; name an artifact")
    if (path / MANIFEST).is_file():
        return read_json(path / MANIFEST)
    if (path / DESCRIPTION).is_file():
        open_dataset(path)
        return read_json(path / DESCRIPTION)
    models = dict.fromkeys((".safetensors", ".pt"), _describe_model)
    readers = {**models, ".h5": _describe_descriptors, ".parquet": _describe_table, ".json": read_json}
    if path.suffix not in readers:
        known = ", ".join(readers)
        raise ArtifactError(f"{path}: not an artifact of lrcr; name a folder with a manifest or a file of {known}")
    return readers[path.suffix](path)


def _describe_model(path: Path) -> Any:
    from lrcr.models.header import count_parameters, read_model_manifest

    return {**read_model_manifest(path).as_dict(), "parameters": count_parameters(path)}


def _describe_descriptors(path: Path) -> Any:
    from lrcr.features.hloc import has_groups, list_images, read_images, vector_shape
    from lrcr.features.store import read_shard

    if has_groups(path):
        names, vectors = list_images(path), vector_shape(path)
        facts = {"kind": "features file", "images": len(names), "first": names[:3]}
        if vectors is not None:
            return {**facts, "vectors": vectors}
        shapes = [image.local.descriptors.shape for image in read_images(path)]
        return {**facts, "descriptors": [sum(rows for rows, _ in shapes), shapes[0][1]]}
    shard = read_shard(path)
    shape = list(shard.descriptors.shape)
    global_ = {} if shard.vectors is None else {"vectors": list(shard.vectors.shape)}
    return {"kind": "shard of descriptors", "images": len(shard), "descriptors": shape, **global_}


def _describe_table(path: Path) -> Any:
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except Exception as error:
        raise ArtifactError(f"{path}: not a Parquet table ({error}); make it again") from None
    return {"kind": "table", "rows": len(table), "columns": {field.name: str(field.type) for field in table.schema}}
