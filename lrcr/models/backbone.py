"""The backbone (trunk) of every model: a network of torchvision or timm without its head."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lrcr.config.model import BackboneParams
from lrcr.data.images import MEAN, STD
from lrcr.errors import WeightsError
from lrcr.models.timm_trunk import PREFIX, timm_trunk
from lrcr.models.torchvision_trunk import torchvision_trunk
from lrcr.models.weights import load_weights, read_weights

_SIDE = 64  # pixels of a probe image
_CACHED_PIXELS = 2**17  # of the images in one pass on a CPU; with more, most networks are slower, up to twice


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
        frozen: names of the modules that `start` calls, in order: none, or those that `freeze` froze.
        trained: names of the modules that `end` calls; the empty name is the whole network.
        compute: type of the arithmetic of what is in evaluation mode; None: float16 on a GPU and float32 on a CPU.

    Raises:
        WeightsError: there is no such network, or it has no such feature map.
    """

    def __init__(self, name: str, stride: int | None = None, skip_layers: int | None = None) -> None:
        super().__init__()
        self.name = name
        if name.startswith(PREFIX):
            trunk = timm_trunk(name.removeprefix(PREFIX), stride)
        else:
            trunk = torchvision_trunk(name, stride, skip_layers)
        self.trunk = trunk.network
        self.channels, self.stride = trunk.channels, trunk.stride
        self.whole_patches, self.inner = trunk.whole_patches, trunk.inner
        self.stages = trunk.stages
        self.frozen: tuple[str, ...] = ()
        self.trained: tuple[str, ...] = ("",)
        self.compute: torch.dtype | None = None
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

    def freeze(self, trained_stages: int) -> None:
        """Freeze all but the last stages: no gradient, and evaluation mode whatever `train` sets.

        Raises:
            WeightsError: the network has fewer stages, or cannot be split between them.
        """
        if trained_stages:
            self.require_stages(trained_stages)
        split = len(self.stages) - trained_stages
        self.frozen = sum(self.stages[:split], ()) if trained_stages else ("",)
        self.trained = sum(self.stages[split:], ())
        for parameter in self.frozen_parameters():
            parameter.requires_grad_(False)
        self.train(self.training)

    def frozen_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of the frozen modules."""
        for name in self.frozen:
            yield from self.trunk.get_submodule(name).parameters()

    def train(self, mode: bool = True) -> Self:
        """Set the training mode; frozen modules stay in evaluation mode."""
        super().train(mode)
        for name in self.frozen:
            self.trunk.get_submodule(name).eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Compute the feature map: images of shape (B, 3, H, W) → (B, C, ⌈H / stride⌉, ⌈W / stride⌉).

        The result is float32; modules in evaluation mode compute in the type `compute`.

        In evaluation without gradient, a CPU computes few images at a time, whose maps fit into its caches.
        """
        if self.training or torch.is_grad_enabled() or images.is_cuda:
            return self.end(self.start(images))
        number = max(1, _CACHED_PIXELS // (images.shape[2] * images.shape[3]))
        maps = [self.end(self.start(part)) for part in torch.split(images, number)]
        return maps[0] if len(maps) == 1 else torch.cat(maps)

    def start(self, images: Tensor) -> Tensor:
        """The map of the frozen modules, of images of shape (B, 3, H, W); if none is frozen, the input of the network.

        A network that splits images into patches gets them resized so that their sides are multiples of the stride.
        """
        if self.whole_patches:
            size = [-(-side // self.stride) * self.stride for side in images.shape[2:]]
            if size != list(images.shape[2:]):
                images = F.interpolate(images, size, mode="bilinear")
        if self.renormalises:
            images = images * self.scale + self.shift
        return self._call(self.frozen, images, mixed=True)

    def end(self, maps: Tensor) -> Tensor:
        """The feature map, from the result of `start`."""
        return self._call(self.trained, maps, mixed=not self.training)

    def _call(self, names: Sequence[str], maps: Tensor, *, mixed: bool) -> Tensor:
        compute = self.compute or (torch.float16 if maps.is_cuda else torch.float32)
        half = mixed and compute != torch.float32
        with torch.autocast(maps.device.type, compute if half else None, enabled=half):
            for name in names:
                maps = self.trunk.get_submodule(name)(maps)
        return maps.float()

    def require_stages(self, number: int) -> None:
        """Refuse a number of stages that the network does not have, and a network that cannot be split.

        Raises:
            WeightsError: either is the case.
        """
        stages = max(0, len(self.stages) - 1)
        if 0 < stages < number:
            where = f"{self.name} at stride {self.stride}"
            raise WeightsError(f"train.freeze: {number}, but {where} has {stages} stages; lower it")
        if not stages or not self.is_sequence():
            remedy = "set it to none or backbone"
            raise WeightsError(f"train.freeze: {number}, but {self.name} cannot be split between stages; {remedy}")

    @torch.no_grad()
    def is_sequence(self) -> bool:
        """Whether the stages, called one after the other, compute the map of the network."""
        with self._probe() as probe:
            try:
                return torch.equal(self._call(sum(self.stages, ()), probe, mixed=False), self.trunk(probe))
            except (
                AttributeError,
                AssertionError,
                RuntimeError,
                TypeError,
                ValueError,
            ):  # maps do not fit together
                return False

    @torch.no_grad()
    def is_signed(self) -> bool:
        """Whether features can be negative: the network does not end with ReLU."""
        with self._probe() as probe:
            return bool((self.trunk(probe) < 0).any())

    @contextmanager
    def _probe(self) -> Iterator[Tensor]:
        """An image of noise, for the network in evaluation mode."""
        training = self.training
        self.eval()
        try:
            yield torch.rand(1, 3, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0)).to(self.scale)
        finally:
            self.train(training)


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


def has_folded_batchnorm(module: nn.Module) -> bool:
    """Whether all BatchNorm of a module does no more than add a bias, because it is folded into convolutions."""
    layers = [child for child in module.modules() if isinstance(child, _BatchNorm)]
    return all(
        layer.running_mean is not None
        and layer.running_var is not None
        and not layer.running_mean.any()
        and torch.allclose(layer.weight * (layer.running_var + layer.eps).rsqrt(), torch.ones(()), atol=1e-3)
        for layer in layers
    )


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
