"""The trunk of every model: torchvision's residual networks without their head and, if asked, their last blocks."""

from collections import OrderedDict
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from lrcr.errors import WeightsError
from lrcr.params import BackboneParams

_HEAD = ("avgpool", "fc")


class Backbone(nn.Module):
    """Images of shape (B, 3, H, W) → non-negative features of shape (B, C, ⌈H / stride⌉, ⌈W / stride⌉).

    Parameters carry torchvision's names (`conv1.weight`, `layer3.1.bn2.bias`, …) below `trunk`.

    Args:
        name: resnet18, resnet50 or resnet101.
        skip_layers: how many of the four blocks are left out, counted from the end.

    Attributes:
        channels: C.
        stride: pixels between neighbouring locations.
    """

    def __init__(self, name: str, skip_layers: int) -> None:
        super().__init__()
        network = torchvision.models.get_model(name, weights=None)
        skipped = {f"layer{4 - i}" for i in range(skip_layers)}
        kept = ((key, module) for key, module in network.named_children() if key not in skipped | set(_HEAD))
        self.trunk = nn.Sequential(OrderedDict(kept))
        self.channels: int = network.fc.in_features // 2**skip_layers
        self.stride = 32 // 2**skip_layers

    def forward(self, images: Tensor) -> Tensor:
        """Compute the feature map."""
        features: Tensor = self.trunk(images)
        return features


def build_backbone(params: BackboneParams) -> Backbone:
    """Build the trunk and load its weights (`none` draws them from torch's global random state).

    Raises:
        WeightsError: the weights cannot be read, or a tensor of the trunk is missing or has another shape.
    """
    backbone = Backbone(params.name, params.skip_layers)
    if params.weights != "none":
        weights = _imagenet(params.name) if params.weights == "imagenet" else _read(Path(params.weights))
        load_weights(backbone.trunk, weights, f"backbone.weights: {params.weights}")
    return backbone


def load_weights(module: nn.Module, weights: dict[str, Tensor], where: str) -> None:
    """Copy `weights` into `module` by name; names that the module does not have are left aside.

    Raises:
        WeightsError: a tensor is missing, has another shape or is not finite (named).
    """
    state = module.state_dict()
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        if name not in weights:
            raise WeightsError(f"{where}: lacks the tensor {name!r}; use weights of the same architecture")
        if weights[name].shape != tensor.shape:
            found, wanted = tuple(weights[name].shape), tuple(tensor.shape)
            raise WeightsError(f"{where}: {name!r} has shape {found}, not {wanted}; use the same architecture")
        if not torch.isfinite(weights[name]).all():
            raise WeightsError(f"{where}: {name!r} holds values that are not finite; the file is damaged")
        state[name] = weights[name].to(tensor.dtype)
    module.load_state_dict(state)


def _imagenet(name: str) -> dict[str, Tensor]:
    weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"backbone.weights: 'imagenet' cannot be downloaded ({error}); name a file of {name}'s weights, or 'none'"
        ) from None
    return state


def _read(path: Path) -> dict[str, Tensor]:
    """Read a .npz of arrays or a .pth of tensors (never unpickling anything else)."""
    where = f"backbone.weights: {path}"
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return {name: torch.from_numpy(file[name]) for name in file.files}
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"{where}: no such file; use 'none', 'imagenet' or a .pth or .npz file") from None
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(f"{where}: cannot be read ({reason}); use a .pth or .npz file of tensors") from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise WeightsError(f"{where}: holds no dictionary of tensors; save a network's state_dict")
    return state
