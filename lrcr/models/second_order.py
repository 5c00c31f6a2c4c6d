"""The second-order attention of SOLAR: self-attention over all locations of a map (Ng et al., ECCV 2020)."""

import torch.nn.functional as F
from torch import Tensor, nn

from lrcr.models.smoothing import zero_init


class SecondOrderAttention(nn.Module):
    """A non-local block (Wang et al., CVPR 2018): x_p + V Σ_q softmax_q(f(x_p) · g(x_q) / √width) h(x_q).

    f and g are 1 × 1 convolutions with BatchNorm and ReLU; h and V are 1 × 1 convolutions alone. V is zero at first, so
    the block starts as the identity. SOLAR inserts a block after each of the last two stages of a ResNet. Without
    gradient, the memory grows linearly with the number of locations.

    Args:
        channels: C, of the features.
        width: channels of f, g and h; in SOLAR C / 4 after the last stage but one, C / 2 after the last stage.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.queries = nn.Sequential(_convolution(channels, width), nn.BatchNorm2d(width), nn.ReLU())
        self.keys = nn.Sequential(_convolution(channels, width), nn.BatchNorm2d(width), nn.ReLU())
        self.values = _convolution(channels, width)
        self.output = zero_init(nn.Conv2d(width, channels, 1))

    def forward(self, features: Tensor) -> Tensor:
        """Add context to features of shape (B, C, H, W); returns the same shape."""
        # Fused attention needs contiguous channels; otherwise torch computes the whole matrix of pairs.
        nodes = [layer(features).flatten(2).mT.contiguous() for layer in (self.queries, self.keys, self.values)]
        attended = F.scaled_dot_product_attention(*(node[:, None] for node in nodes))[:, 0].mT  # one head
        change: Tensor = self.output(attended.reshape(*attended.shape[:2], *features.shape[2:]))
        return features + change


def _convolution(channels: int, width: int) -> nn.Conv2d:
    """A 1 × 1 convolution, initialised as in SOLAR (He et al., ICCV 2015)."""
    layer = nn.Conv2d(channels, width, 1)
    nn.init.kaiming_normal_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
