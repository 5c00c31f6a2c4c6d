"""torchvision's networks as backbones: without their head and their last blocks.

Importing torchvision takes seconds, so only the functions that need it import it.
"""

import math
from collections import OrderedDict
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrcr.errors import WeightsError
from lrcr.models.trunk import Trunk, stages_by_name

if TYPE_CHECKING:
    from torchvision.models import VisionTransformer

_HEAD = ("avgpool", "fc")


def torchvision_trunk(name: str, stride: int | None = None, skip_layers: int | None = None) -> Trunk:
    """A network of torchvision with drawn weights.

    Args:
        name: resnet18, resnet50, resnet101, convnext_tiny or vit_b_16 (its patch tokens are the features).
        stride: of the feature map; None takes the last map.
        skip_layers: instead of the stride: number of blocks removed at the end, of the four stages of a ResNet or a
            ConvNeXt, or of the twelve layers of a vision transformer.

    Raises:
        WeightsError: the network has no map of this stride.
    """
    import torchvision

    strides = (16,) if name.startswith("vit") else (32, 16, 8, 4)
    if skip_layers is None and stride not in (None, *strides):
        known = ", ".join(map(str, strides))
        raise WeightsError(f"backbone.stride: {stride}, but {name} has maps of stride {known}; choose one")
    if skip_layers is None:
        skip_layers = 0 if stride is None else strides.index(stride)
    network = torchvision.models.get_model(name, weights=None)
    if name.startswith("vit"):
        return Trunk(_PatchTokens(network, skip_layers), network.hidden_dim, network.patch_size, whole_patches=True)
    stride = strides[skip_layers]
    if name.startswith("convnext"):
        # `features` has two modules per stage, downsampling and blocks: 0, 1 | 2, 3 | 4, 5 | 6, 7.
        kept = network.features[: 8 - 2 * skip_layers]
        for module in kept.modules():
            if isinstance(module, torchvision.ops.StochasticDepth):
                module.p = 0.0  # random: two passes would differ, and a resumed training from an uninterrupted one
        channels = kept[-1][-1].block[0].out_channels
        pairs = ((f"features.{i}", f"features.{i + 1}") for i in range(2, len(kept), 2))
        stages = (("features.0",), ("features.1",), *pairs)
        return Trunk(nn.Sequential(OrderedDict(features=kept)), channels, stride, whole_patches=True, stages=stages)
    skipped = {f"layer{4 - i}" for i in range(skip_layers)}
    children = [(key, module) for key, module in network.named_children() if key not in skipped | set(_HEAD)]
    trunk = nn.Sequential(OrderedDict(children))
    return Trunk(trunk, network.fc.in_features // 2**skip_layers, stride, stages=stages_by_name(trunk))


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
