"""What a backbone needs of a network, whichever library it comes from."""

import re
from dataclasses import dataclass

from torch import nn

from lrcr.data.images import MEAN, STD

Stages = tuple[tuple[str, ...], ...]
"""Names of the modules of a network in the order of their calls: those of the stem, then those of each stage."""

_STAGE = re.compile(r"layer\d|s\d|(blocks|stages)\.\d+")


@dataclass(frozen=True)
class Trunk:
    """A network without its head.

    Args:
        network: images of shape (B, 3, H, W) → features of shape (B, C, ⌈H / stride⌉, ⌈W / stride⌉).
        channels: C.
        stride: pixels between neighbouring locations.
        whole_patches: whether the sides of the images must be multiples of the stride.
        inner: name of the module inside the network whose parameters have the names of the library; empty: the network.
        mean, std: of the input pixels, in 0–1, with which the network was trained.
        stages: of the network if its modules are called one after the other; empty: they may not be.
    """

    network: nn.Module
    channels: int
    stride: int
    whole_patches: bool = False
    inner: str = ""
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
    stages: Stages = ()


def stages_by_name(network: nn.Module, prefix: str = "") -> Stages:
    """The stages that the names of a network's modules suggest, as most convolutional networks have them.

    Args:
        prefix: of the names that are returned.
    """
    names: list[str] = []
    for name, child in network.named_children():
        inner = [f"{name}.{key}" for key, _ in child.named_children()] if name in ("blocks", "stages") else [name]
        names += inner
    stages = [name for name in names if _STAGE.fullmatch(name) and list(network.get_submodule(name).parameters())]
    if not stages:
        return ()
    stem = names[: names.index(stages[0])]
    return tuple(prefix + name for name in stem), *((prefix + name,) for name in stages)
