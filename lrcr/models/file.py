"""The model file: the weights and the manifest of a model of any architecture."""

from pathlib import Path

import torch
from torch import Tensor

from lrcr.errors import ArtifactError
from lrcr.storage.artifacts import Manifest, staged_file


def write_model_file(path: Path, state: dict[str, Tensor], manifest: Manifest) -> None:
    """Write the tensors and the manifest of a model, atomically."""
    on_cpu = {name: tensor.cpu() for name, tensor in state.items()}
    with staged_file(path) as temporary:
        torch.save({"manifest": manifest.as_dict(), "state_dict": on_cpu}, temporary)


def read_model_file(path: Path) -> tuple[dict[str, Tensor], Manifest]:
    """Read the tensors (on the CPU) and the manifest of a model; only tensors and plain values are unpickled.

    Raises:
        ArtifactError: the file is missing, damaged or is not a model of lrcr.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        values, state = stored["manifest"], stored["state_dict"]
    except FileNotFoundError:
        raise ArtifactError(f"{path}: no such file; train a model first") from None
    except Exception as error:
        raise ArtifactError(f"{path}: not a model of lrcr ({type(error).__name__}); train it again") from None
    return state, Manifest.from_dict(values, path, "model")
