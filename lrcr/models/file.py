"""The model file: safetensors, with the tensors of a model of any architecture and its manifest in the header."""

import json
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from lrcr.models.header import MANIFEST_KEY, not_a_model, read_model_manifest
from lrcr.storage.artifacts import Manifest, staged_file


def write_model_file(path: Path, state: dict[str, Tensor], manifest: Manifest) -> None:
    """Write the tensors and the manifest of a model, atomically."""
    on_cpu = {name: tensor.cpu().contiguous() for name, tensor in state.items()}
    with staged_file(path) as temporary:
        save_file(on_cpu, temporary, {MANIFEST_KEY: json.dumps(manifest.as_dict())})


def read_model_file(path: Path) -> tuple[dict[str, Tensor], Manifest]:
    """Read the tensors (on the CPU) and the manifest of a model.

    Raises:
        ArtifactError: the file is missing, damaged or is not a model of lrcr.
    """
    manifest = read_model_manifest(path)
    try:
        return load_file(path), manifest
    except Exception as error:  # a type of numbers, say, that torch does not have
        raise not_a_model(path, error) from None
