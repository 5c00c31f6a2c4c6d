"""Preparation of a trained model for faster inference; the function that it computes stays the same."""

from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Network = TypeVar("Network", bound=nn.Module)

_SIDE = 64  # pixels of the image that is passed through the network


def ready_for_inference(model: Network, device: torch.device) -> Network:
    """Fuse BatchNorm into the convolutions before it, and move the model to the device with channels-last weights.

    The model is changed in place. Afterwards it can neither be trained nor be stored.

    Args:
        model: a backbone, or a model that has one.
    """
    model.eval()
    backbone = getattr(model, "backbone", model)
    _fold_batchnorm(backbone, next(backbone.parameters()).new_zeros(1, 3, _SIDE, _SIDE))
    return model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


@torch.no_grad()
def _fold_batchnorm(network: nn.Module, probe: Tensor) -> None:
    """Fuse each convolution with the BatchNorm that is registered after it and normalises its output.

    A forward pass of `probe` shows which does. timm's BatchNorm also holds the activation, which stays.
    """
    outputs: dict[nn.Module, Tensor] = {}
    inputs: dict[nn.Module, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda conv, _, output: outputs.__setitem__(conv, output))
        if isinstance(module, nn.Conv2d)
        else module.register_forward_pre_hook(lambda norm, given: inputs.__setitem__(norm, given[0]))
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    ]
    network(probe)
    for hook in hooks:
        hook.remove()
    for module in list(network.modules()):
        for (name, child), (next_name, following) in pairwise(list(module.named_children())):
            if child in outputs and inputs.get(following) is outputs[child]:
                assert isinstance(child, nn.Conv2d) and isinstance(following, nn.BatchNorm2d)
                setattr(module, name, fuse_conv_bn_eval(child, following))
                setattr(module, next_name, getattr(following, "act", nn.Identity()))
