"""The header of a model file: the manifest of the model and the shapes of its tensors, read without torch."""

import json
import math
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

from safetensors import safe_open

from lrcr.errors import ArtifactError
from lrcr.storage.artifacts import Manifest

MANIFEST_KEY = "manifest"
"""The only key of the file's metadata: with several, equal models would not be stored in equal bytes."""

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # of BatchNorm


def read_model_manifest(path: Path) -> Manifest:
    """Read the manifest of a model.

    Raises:
        ArtifactError: the file is missing, damaged or is not a model of lrcr.
    """
    return Manifest.from_dict(_read_header(path)[0], path, "model")


def count_parameters(path: Path) -> int:
    """The number of values in the tensors of a model, without statistics of BatchNorm; raises as the manifest."""
    shapes = _read_header(path)[1]
    return sum(math.prod(shape) for name, shape in shapes.items() if not name.endswith(_STATISTICS))


def is_safetensors(path: Path) -> bool:
    """Whether a file has the start of a safetensors file: the length of the header, and the brace that opens it."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def _read_header(path: Path) -> tuple[Any, dict[str, list[int]]]:
    """The stored manifest, and the shape of each tensor."""
    try:
        with safe_open(path, framework="numpy") as file:
            manifest = json.loads((file.metadata() or {})[MANIFEST_KEY])
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118  not a dict
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; train a model first") from None
    except Exception as error:
        raise not_a_model(path, error) from None
    return manifest, shapes


def not_a_model(path: Path, error: Exception) -> ArtifactError:
    """The error for a file that safetensors refuses."""
    reason = "a torch file, as earlier versions wrote" if is_zipfile(path) else type(error).__name__
    return ArtifactError(f"{path}: not a model of lrcr ({reason}); train it again")
