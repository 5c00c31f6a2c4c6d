"""What a backbone needs of a network, whichever library it comes from."""

from dataclasses import dataclass

from torch import nn

from lrcr.data.images import MEAN, STD


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
    """

    network: nn.Module
    channels: int
    stride: int
    whole_patches: bool = False
    inner: str = ""
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD
