"""Whether two indexes can be merged: whether both were built with the same model, codebook and settings."""

from pathlib import Path, PurePath
from typing import Any

from lrcr.config.reading import check_params
from lrcr.errors import ArtifactError
from lrcr.retrieval.layout import CODEBOOK, MODEL, PARAMS
from lrcr.storage.artifacts import MANIFEST, first_difference, open_manifest, read_json

_INDIFFERENT = {"shard_size", "decoded_images", "store_descriptors", "memory_gib"}
"""Params that decide how an index is built, not what it holds."""


def require_same_source(one: Path, other: Path) -> None:
    """Refuse two indexes whose scores cannot be compared.

    Raises:
        ArtifactError: naming what differs: the model, a file of the codebook, or a param.
    """
    a, b = (_contents(folder) for folder in (one, other))
    for name in sorted(a.keys() | b.keys()):
        if a.get(name) != b.get(name):
            raise ArtifactError(f"{other}: its {name} is not that of {one}; build it with the same model and codebook")
    key, was, now = first_difference("", _settings(one), _settings(other))
    if was != now:
        raise ArtifactError(
            f"{other}: built with {key.lstrip('.')} = {now}, but {one} with {was}; build one of them again"
        )


def _contents(folder: Path) -> dict[str, str]:
    """The hashes of the model and of the arrays of the codebook."""
    files = open_manifest(folder, "index").facts["beside"]["files"]
    return {
        name: stored["sha256"]
        for name, stored in files.items()
        if name == MODEL or (PurePath(name).parent.name == CODEBOOK and PurePath(name).name != MANIFEST)
    }


def _settings(folder: Path) -> dict[str, Any]:
    """The params that decide what an index stores of an image."""
    sections = check_params(read_json(folder / PARAMS), str(folder / PARAMS)).sections("extract", "index")
    return {
        section: {key: value for key, value in values.items() if key not in _INDIFFERENT}
        for section, values in sections.items()
    }
