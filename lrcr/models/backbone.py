"""The backbone (trunk) of every model: a network of torchvision without its head and its last `skip_layers` blocks.

Importing torchvision takes seconds, so only the functions that need it import it.
"""

import math
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lrcr.config.model import BackboneParams
from lrcr.errors import WeightsError

if TYPE_CHECKING:
    from torchvision.models import VisionTransformer

_HEAD = ("avgpool", "fc")
_TRUNK = "backbone.trunk."  # prefix of the backbone's tensors in a model file of lrcr


class Backbone(nn.Module):
    """Images of shape (B, 3, H, W) → features of shape (B, C, ⌈H / stride⌉, ⌈W / stride⌉).

    The parameters have torchvision's names (`conv1.weight`, `layer3.1.bn2.bias`, …) with the prefix `trunk.`.

    Args:
        name: resnet18, resnet50, resnet101, convnext_tiny or vit_b_16 (its patch tokens are the features).
        skip_layers: number of blocks removed at the end: of the four stages of a ResNet or a ConvNeXt, or of the twelve
            layers of a vision transformer.

    Attributes:
        channels: C.
        stride: pixels between neighbouring locations.
    """

    def __init__(self, name: str, skip_layers: int) -> None:
        import torchvision

        super().__init__()
        network = torchvision.models.get_model(name, weights=None)
        self.trunk: nn.Module
        self.patchwise = name.startswith(("vit", "convnext"))
        if name.startswith("vit"):
            self.trunk = _PatchTokens(network, skip_layers)
            self.channels, self.stride = network.hidden_dim, network.patch_size
        elif name.startswith("convnext"):
            # `features` has two modules per stage, downsampling and blocks: 0, 1 | 2, 3 | 4, 5 | 6, 7.
            kept = network.features[: 8 - 2 * skip_layers]
            for module in kept.modules():
                if isinstance(module, torchvision.ops.StochasticDepth):
                    module.p = 0.0  # random: two passes would differ, and a resumed training from an uninterrupted one
            self.trunk = nn.Sequential(OrderedDict(features=kept))
            self.channels, self.stride = kept[-1][-1].block[0].out_channels, 32 // 2**skip_layers
        else:
            skipped = {f"layer{4 - i}" for i in range(skip_layers)}
            kept = [(key, module) for key, module in network.named_children() if key not in skipped | set(_HEAD)]
            self.trunk = nn.Sequential(OrderedDict(kept))
            self.channels, self.stride = network.fc.in_features // 2**skip_layers, 32 // 2**skip_layers

    def forward(self, images: Tensor) -> Tensor:
        """Compute the feature map; on a GPU in evaluation mode, in mixed precision.

        A network that splits images into patches gets them resized so that their sides are multiples of the stride.
        """
        if self.patchwise:
            size = [-(-side // self.stride) * self.stride for side in images.shape[2:]]
            if size != list(images.shape[2:]):
                images = F.interpolate(images, size, mode="bilinear")
        with torch.autocast("cuda", enabled=images.is_cuda and not self.training):
            features: Tensor = self.trunk(images)
        return features.float()


def crop_border(maps: Tensor, border: int) -> Tensor:
    """Crop the border of maps of shape (…, H, W); a map that would become empty is returned as it is.

    Near the border, the features are affected by the zero padding of the network.

    Args:
        border: number of rows and columns to crop on each side.
    """
    if not border or min(maps.shape[-2:]) <= 2 * border:
        return maps
    return maps[..., border:-border, border:-border]


class _PatchTokens(nn.Module):
    """A vision transformer whose features are its patch tokens, arranged as a map.

    The position embeddings are interpolated to the size of each image's map. The final layer normalisation fits the
    last layer only, so it is removed if layers are removed.
    """

    def __init__(self, network: "VisionTransformer", skip_layers: int) -> None:
        super().__init__()
        self.conv_proj = network.conv_proj
        self.class_token = network.class_token
        self.encoder = network.encoder
        kept = len(self.encoder.layers) - skip_layers
        self.encoder.layers = self.encoder.layers[:kept]
        if skip_layers:
            self.encoder.ln = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        """Compute the feature map."""
        patches = self.conv_proj(images)
        tokens = torch.cat([self.class_token.expand(len(images), -1, -1), patches.flatten(2).mT], dim=1)
        tokens = tokens + self._positions(patches.shape[2:])
        tokens = self.encoder.ln(self.encoder.layers(tokens))
        features: Tensor = tokens[:, 1:].mT.unflatten(2, patches.shape[2:])
        return features

    def _positions(self, size: torch.Size) -> Tensor:
        """Position embeddings of the class token and of a map of `size`: of shape (1, 1 + H · W, C)."""
        embeddings = self.encoder.pos_embedding
        side = math.isqrt(embeddings.shape[1] - 1)
        grid = embeddings[:, 1:].mT.unflatten(2, (side, side))
        grid = F.interpolate(grid, size, mode="bicubic", align_corners=False)
        return torch.cat([embeddings[:, :1], grid.flatten(2).mT], dim=1)


def freeze_batchnorm_stats(module: nn.Module) -> None:
    """Set every BatchNorm of a module to evaluation mode: it uses its running statistics and does not update them."""
    for child in module.modules():
        if isinstance(child, _BatchNorm):
            child.eval()


def build_backbone(params: BackboneParams) -> Backbone:
    """Build the backbone and load its weights; `none`: they are drawn from torch's global random state.

    Raises:
        WeightsError: the weights cannot be read, or a tensor of the backbone is missing or has another shape.
    """
    backbone = Backbone(params.name, params.skip_layers)
    if params.weights != "none":
        weights = _imagenet(params.name) if params.weights == "imagenet" else _read(Path(params.weights))
        load_weights(backbone.trunk, weights, f"backbone.weights: {params.weights}")
    return backbone


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
    import torchvision

    weights = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"backbone.weights: 'imagenet' cannot be downloaded ({error}); name a file of {name}'s weights, or 'none'"
        ) from None
    return state


def _read(path: Path) -> dict[str, Tensor]:
    """Read a .npz file of arrays or a .pth file of tensors; nothing else is unpickled."""
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
    trunk = {name.removeprefix(_TRUNK): tensor for name, tensor in state.items() if name.startswith(_TRUNK)}
    return trunk or state
