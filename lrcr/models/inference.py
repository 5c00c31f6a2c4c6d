"""Preparation of a trained model for faster inference; the function that it computes stays the same."""

from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Network = TypeVar("Network", bound=nn.Module)


def ready_for_inference(model: Network, device: torch.device) -> Network:
    """Fuse BatchNorm into the convolutions before it, and move the model to the device with channels-last weights.

    The model is changed in place. Afterwards it can neither be trained nor be stored.
    """
    _fold_batchnorm(model.eval())
    return model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _fold_batchnorm(module: nn.Module) -> None:
    """Fuse each convolution with the BatchNorm that is registered directly after it, as torchvision and timm do.

    timm's BatchNorm also holds the activation, which stays.
    """
    children = list(module.named_children())
    for (name, child), (next_name, following) in pairwise(children):
        if isinstance(child, nn.Conv2d) and isinstance(following, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(child, following))
            setattr(module, next_name, getattr(following, "act", nn.Identity()))
    for child in module.children():
        _fold_batchnorm(child)
