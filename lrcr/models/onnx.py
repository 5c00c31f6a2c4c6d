"""Export of a global model to ONNX, for programs without torch. Needs the extra `onnx`."""

from pathlib import Path
from typing import Any

import torch

from lrcr.errors import ArtifactError, ParamsError
from lrcr.models.factory import open_model
from lrcr.storage.artifacts import staged_file

_EXAMPLE = (2, 3, 224, 256)
"""Shape of the images with which the model is traced; the exported model takes other sizes and numbers of images."""


def export_onnx(model_file: Path, file: Path) -> None:
    """Write a global model as ONNX, atomically.

    The input `images` is of shape (B, 3, H, W), float32, normalised as for ImageNet; the output `vectors` of shape
    (B, D) has unit rows. This is the network at one scale: `codebook` may whiten the vectors of an index further.

    Raises:
        ArtifactError: the model is missing or damaged, or has local descriptors or regions.
        ParamsError: the extra `onnx` is not installed.
    """
    model, manifest = open_model(model_file)
    name = manifest.params["model"]["name"]
    if model.supports("local descriptors"):
        raise ArtifactError(f"{model_file}: a model of kind {name} has local descriptors; name one of global vectors")
    if model.supports("regions"):
        raise ArtifactError(f"{model_file}: a model of kind {name} has other regions for each size; name another")
    try:
        import onnxscript  # noqa: F401  torch's exporter needs it
    except ImportError:
        raise ParamsError(f"{file}: onnxscript is not installed; install lrcr[onnx]") from None
    dim = torch.export.Dim
    shapes = {"images": {0: dim("batch"), 2: dim("height", min=32), 3: dim("width", min=32)}}
    options: dict[str, Any] = {
        "input_names": ["images"],
        "output_names": ["vectors"],
        "external_data": False,
        "verbose": False,
    }
    with staged_file(file) as temporary:
        torch.onnx.export(model, (torch.zeros(_EXAMPLE),), temporary, dynamic_shapes=shapes, dynamo=True, **options)
