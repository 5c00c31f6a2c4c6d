"""The backbone (trunk) of every model: a network of torchvision or timm without its head."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lrcr.config.model import BackboneParams
from lrcr.data.images import MEAN, STD
from lrcr.models.timm_trunk import PREFIX, timm_trunk
from lrcr.models.torchvision_trunk import torchvision_trunk
from lrcr.models.weights import load_weights, read_weights


class Backbone(nn.Module):
    """Images of shape (B, 3, H, W) → features of shape (B, C, ⌈H / stride⌉, ⌈W / stride⌉).

    The parameters have the names of torchvision (`conv1.weight`, `layer3.1.bn2.bias`, …) with the prefix `trunk.`, or
    those of timm with the prefix `trunk.network.`.

    Args:
        name: a network of torchvision (`lrcr.models.torchvision_trunk`), or `timm/NAME`.
        stride: of the feature map; None takes the last map.
        skip_layers: blocks removed at the end of a network of torchvision, instead of `stride`.

    Attributes:
        channels: C.
        stride: pixels between neighbouring locations.

    Raises:
        WeightsError: there is no such network, or it has no such feature map.
    """

    def __init__(self, name: str, stride: int | None = None, skip_layers: int | None = None) -> None:
        super().__init__()
        if name.startswith(PREFIX):
            trunk = timm_trunk(name.removeprefix(PREFIX), stride)
        else:
            trunk = torchvision_trunk(name, stride, skip_layers)
        self.trunk = trunk.network
        self.channels, self.stride = trunk.channels, trunk.stride
        self.whole_patches, self.inner = trunk.whole_patches, trunk.inner
        # Images come normalised by ImageNet's mean and deviation; the network may have been trained with others.
        self.renormalises = (trunk.mean, trunk.std) != (MEAN, STD)
        own, given = torch.tensor([trunk.mean, trunk.std]), torch.tensor([MEAN, STD])
        self.register_buffer("scale", (given[1] / own[1]).view(3, 1, 1), persistent=False)
        self.register_buffer("shift", ((given[0] - own[0]) / own[1]).view(3, 1, 1), persistent=False)

    scale: Tensor
    shift: Tensor

    @property
    def named_network(self) -> nn.Module:
        """The network whose parameters have the names of its library."""
        return self.trunk.get_submodule(self.inner)

    def forward(self, images: Tensor) -> Tensor:
        """Compute the feature map; on a GPU in evaluation mode, in mixed precision.

        A network that splits images into patches gets them resized so that their sides are multiples of the stride.
        """
        if self.whole_patches:
            size = [-(-side // self.stride) * self.stride for side in images.shape[2:]]
            if size != list(images.shape[2:]):
                images = F.interpolate(images, size, mode="bilinear")
        if self.renormalises:
            images = images * self.scale + self.shift
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
    backbone = Backbone(params.name, params.stride, params.skip_layers)
    if params.weights != "none":
        weights = read_weights(params.name, params.weights)
        load_weights(backbone.named_network, weights, f"backbone.weights: {params.weights}")
    return backbone
