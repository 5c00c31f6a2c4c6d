"""Conversion of checkpoints of HOW's code (Tolias, Jenicek, Chum, ECCV 2020) to model files of lrcr.

The checkpoints have two formats. They differ in the key of the architecture (`net_params`, or `meta` in the older
format) and in the name of the whitening (`dim_reduction` or `whiten`). In both, the backbone is a list of the children
of torchvision's ResNet, `features.<number>`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lrcr.config.params import MODEL_SECTIONS
from lrcr.config.reading import check_params
from lrcr.data.images import MEAN, STD
from lrcr.errors import WeightsError
from lrcr.models.backbone import Backbone
from lrcr.models.file import write_model_file
from lrcr.models.weights import load_weights
from lrcr.storage.artifacts import Manifest, hash_file

_CHILDREN = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}


def import_how(source: Path, target: Path) -> None:
    """Convert the checkpoint `source` of HOW's code to the model file `target`.

    Raises:
        WeightsError: `source` is not such a checkpoint, or a parameter is missing, unknown or of another shape.
    """
    checkpoint = _read(source)
    params = check_params(
        {
            "backbone": {
                "name": checkpoint.architecture,
                "stride": None,
                "skip_layers": checkpoint.skip_layers,
                "weights": "imagenet",
                "crop_border": 0,
            },
            "smoothing": {"kind": "average", "kernel": checkpoint.kernel} if checkpoint.kernel else {"kind": "none"},
            "whitening": {"dim": checkpoint.dim},
        },
        str(source),
    )
    weights, whitening = _rename(checkpoint.state, source)
    backbone = Backbone(checkpoint.architecture, skip_layers=checkpoint.skip_layers)
    load_weights(backbone.trunk, weights, str(source))
    unknown = sorted(set(weights) - set(backbone.trunk.state_dict()))
    if unknown:
        raise WeightsError(
            f"{source}: {unknown[0]!r} is not a parameter of {checkpoint.architecture}; name another file"
        )
    state = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
    state |= _convert_whitening(whitening, (checkpoint.dim, backbone.channels), source)
    sections = params.sections(*MODEL_SECTIONS)
    write_model_file(target, state, Manifest("model", sections, {"released": hash_file(source)}))


@dataclass(frozen=True)
class _Checkpoint:
    """The contents of a checkpoint of either format; the `kernel` of smoothing is 0 if there is no smoothing."""

    architecture: str
    skip_layers: int
    dim: int
    kernel: int
    state: dict[str, Tensor]


def _read(path: Path) -> _Checkpoint:
    try:
        stored: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file; name a checkpoint of HOW's code (.pth)") from None
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{path}: cannot be read ({reason}); name a checkpoint of HOW's code (.pth)") from None
    try:
        state = dict(stored["state_dict"])
        if "net_params" in stored:
            net = stored["net_params"]
            kernel = net["smoothing"]["kernel_size"] if net["smoothing"] else 0
            architecture, skip, dim = net["architecture"], net["skip_layer"], net["dim_reduction"]["dim"]
            mean, std = net["runtime"]["mean_std"]
        else:
            meta = stored["meta"]
            architecture, skip, dim = meta["architecture"], meta["skip_layer"], meta["dim"]
            kernel, mean, std = meta["feat_pool_k"], meta["mean"], meta["std"]
        used = torch.tensor([[*mean], [*std]], dtype=torch.float32)
        normalised = used.shape == (2, 3) and torch.allclose(used, torch.tensor([MEAN, STD]))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: not a checkpoint of HOW's code ({error!r:.100}); name another file") from None
    if not normalised:
        raise WeightsError(f"{path}: expects images of mean {mean} and deviation {std}, not ImageNet's; name another")
    if architecture not in ("resnet18", "resnet50", "resnet101") or not all(map(_is_tensor, state.values())):
        raise WeightsError(f"{path}: not a ResNet of HOW's code ({architecture!r:.50}); name another file")
    return _Checkpoint(architecture, skip, dim, kernel, state)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _rename(state: dict[str, Tensor], source: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The backbone's parameters by their names in torchvision, and the whitening's as `weight` and `bias`."""
    backbone, whitening = {}, {}
    for name, tensor in state.items():
        part, _, rest = str(name).partition(".")
        number, _, parameter = rest.partition(".")
        if part == "features" and number in _CHILDREN:
            backbone[f"{_CHILDREN[number]}.{parameter}"] = tensor
        elif part in ("dim_reduction", "whiten") and rest in ("weight", "bias"):
            whitening[rest] = tensor
        else:
            raise WeightsError(f"{source}: {name!r:.100} is not a parameter of HOW; name another file")
    return backbone, whitening


def _convert_whitening(found: dict[str, Tensor], shape: tuple[int, int], source: Path) -> dict[str, Tensor]:
    """The whitening as a matrix; in the checkpoint it is a 1 × 1 convolution."""
    dim, channels = shape
    for name, expected in {"weight": (dim, channels, 1, 1), "bias": (dim,)}.items():
        if name not in found or found[name].shape != expected:
            shown = tuple(found[name].shape) if name in found else "missing"
            raise WeightsError(f"{source}: the whitening's {name} is {shown}, not {expected}; name another file")
        if not torch.isfinite(found[name]).all():
            raise WeightsError(f"{source}: the whitening's {name} is not finite; the file is damaged")
    return {"whitening.weight": found["weight"].flatten(1).float(), "whitening.bias": found["bias"].float()}
