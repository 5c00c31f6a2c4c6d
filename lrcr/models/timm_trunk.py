"""timm's networks as backbones: any that returns feature maps of images of any size.

Importing timm takes seconds, so only the functions that need it import it.
"""

import difflib
from typing import Any

import torch
from torch import Tensor, nn

from lrcr.errors import WeightsError
from lrcr.models.trunk import Trunk, stages_by_name

PREFIX = "timm/"
_SIDE = 224  # pixels of the probe image: a multiple of patches of 14, 16 and 32
_ANY_SIZE: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
"""The argument with which transformers of two families take images of any size; other networks need none."""


class FeatureMap(nn.Module):
    """One feature map of a network of timm; of transformers the patch tokens, without class and register tokens.

    Args:
        network: with `forward_intermediates`; layers that the map does not need are removed.
        index: of the map among those that the network can return.
        last: whether it is the last of them: the final normalisation belongs to it.
    """

    def __init__(self, network: Any, index: int, *, last: bool) -> None:
        super().__init__()
        network.prune_intermediate_layers([index], prune_norm=not last, prune_head=True)
        self.network = network
        self.index = index
        self.last = last

    def forward(self, images: Tensor) -> Tensor:
        """Compute the feature map."""
        [features] = _maps(self.network, images, [self.index], norm=self.last)
        return features


def timm_trunk(name: str, stride: int | None) -> Trunk:
    """A network of timm with drawn weights.

    Args:
        name: timm's name of the network.
        stride: of its feature map; None takes the last map.

    Raises:
        WeightsError: timm has no such network, or it has no such feature map, or takes images of one size only.
    """
    network = _create(name)
    probe = torch.zeros(1, 3, _SIDE, _SIDE)
    try:
        maps = _maps(network, probe, None)
    except (AttributeError, AssertionError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(f"backbone.name: {PREFIX}{name} returns no feature maps ({reason}); name another") from None
    strides = [_SIDE // features.shape[-1] for features in maps]
    if stride is not None and stride not in strides:
        known = ", ".join(map(str, dict.fromkeys(strides)))
        raise WeightsError(f"backbone.stride: {stride}, but {PREFIX}{name} has maps of stride {known}; choose one")
    index = len(strides) - 1 if stride is None else len(strides) - 1 - strides[::-1].index(stride)
    trunk = FeatureMap(network, index, last=index == len(strides) - 1).train()
    config = network.default_cfg
    return Trunk(
        trunk,
        maps[index].shape[1],
        strides[index],
        whole_patches=not _pads(trunk, strides[index], name),
        inner="network",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        stages=stages_by_name(network, "network."),
    )


def _create(name: str) -> Any:
    import timm

    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=1)
        remedy = f"did you mean '{PREFIX}{near[0]}'?" if near else "timm.list_models() lists its networks"
        raise WeightsError(f"backbone.name: timm has no network {name!r}; {remedy}")
    for argument in _ANY_SIZE:
        try:
            return _without_dropout(timm.create_model(name, pretrained=False, **argument).eval())
        except TypeError:  # the network does not know the argument
            continue
        except RuntimeError as error:  # a tag of weights that it does not have
            raise WeightsError(
                f"backbone.name: timm cannot make {name!r} ({error}); leave the part after the dot out"
            ) from None
    raise WeightsError(f"backbone.name: timm cannot make {name!r}; name another network")


def _without_dropout(network: Any) -> Any:
    """Disable dropout of features and of blocks: two passes would differ, and a resumed training from a whole one."""
    for module in network.modules():
        if hasattr(module, "drop_prob"):
            module.drop_prob = 0.0
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network


@torch.no_grad()
def _pads(trunk: FeatureMap, stride: int, name: str) -> bool:
    """Whether images whose sides are no multiples of the stride give maps of ⌈H / stride⌉ × ⌈W / stride⌉."""
    trunk.eval()
    sides = (_SIDE - 1, _SIDE + 1)
    try:
        features = trunk(torch.zeros(1, 3, *sides))
        return list(features.shape[2:]) == [-(-side // stride) for side in sides]
    except (AssertionError, RuntimeError):
        pass
    try:
        trunk(torch.zeros(1, 3, 2 * stride, 3 * stride))
    except (AssertionError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise WeightsError(
            f"backbone.name: {PREFIX}{name} takes images of one size only ({reason}); name another network"
        ) from None
    finally:
        trunk.train()
    return False


def _maps(network: Any, images: Tensor, indices: list[int] | None, *, norm: bool = False) -> list[Tensor]:
    """The feature maps of these indices, all for None, each of shape (B, C, H, W)."""
    with torch.set_grad_enabled(torch.is_grad_enabled() and indices is not None):
        maps: list[Tensor] = network.forward_intermediates(
            images, indices=indices, norm=norm, stop_early=True, output_fmt="NCHW", intermediates_only=True
        )
    return maps
