"""Pooling: from a feature map to one vector."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_MIN_FEATURE = 1e-6  # lower bound of the features in GeM: powers of values that are not positive have no gradient
_EXTRA_REGIONS = range(1, 7)  # numbers of regions that R-MAC may add along the longer side


def attention_pool(features: Tensor, attention: Tensor) -> Tensor:
    """The training descriptor of HOW (Tolias et al., ECCV 2020): the L2-normalised sum of attention × feature.

    Args:
        features: of shape (B, D, H, W).
        attention: of shape (B, H, W); a factor of the attention of a whole image does not change the result.

    Returns:
        Unit vectors of shape (B, D).

    Example:
        >>> import torch
        >>> features = torch.tensor([[[[3.0, 0.0]], [[0.0, 4.0]]]])
        >>> attention_pool(features, torch.ones(1, 1, 2))
        tensor([[0.6000, 0.8000]])
    """
    return F.normalize((features * attention[:, None]).sum(dim=(2, 3)), dim=1)


def mac(features: Tensor) -> Tensor:
    """Maximum over locations (Razavian et al., 2014): features of shape (B, C, H, W) → (B, C), not scaled."""
    return features.amax(dim=(2, 3))


def spoc(features: Tensor) -> Tensor:
    """Mean over locations (Babenko and Lempitsky, ICCV 2015): features of shape (B, C, H, W) → (B, C), not scaled."""
    return features.mean(dim=(2, 3))


def gem(features: Tensor, p: Tensor | float = 3.0) -> Tensor:
    """Generalised mean (mean x^p)^(1/p) over locations (Radenović et al., TPAMI 2019); SPoC at p = 1, MAC as p → ∞.

    Args:
        features: of shape (B, C, H, W); values below 1e-6 count as 1e-6.
        p: the power, > 0; a scalar.

    Returns:
        Of shape (B, C), not normalised.

    Example:
        >>> import torch
        >>> gem(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), p=3.0)
        tensor([[2.9240]])
    """
    return features.clamp_min(_MIN_FEATURE).pow(p).mean(dim=(2, 3)).pow(1 / p)


def regional_gem(features: Tensor, size: int = 5, p: float = 2.5) -> Tensor:
    """The mean of each location and of the generalised mean over the window around it (SuperGlobal, ICCV 2023).

    Args:
        features: of shape (B, C, H, W); values below 1e-6 count as 1e-6 in the generalised mean.
        size: side of the window in locations, odd; the border of the map is reflected, or repeated if it is too small.
        p: the power, > 0.

    Returns:
        Of shape (B, C, H, W).
    """
    half = size // 2
    mode = "reflect" if min(features.shape[2:]) > half else "replicate"
    padded = F.pad(features.clamp_min(_MIN_FEATURE), (half, half, half, half), mode)
    regions = F.avg_pool2d(padded.pow(p), size, stride=1).pow(1 / p)
    return (features + regions) / 2


def scale_gem(vectors: Tensor) -> Tensor:
    """The maximum over scales of unit vectors: the generalised mean with p → ∞ (SuperGlobal, ICCV 2023).

    Args:
        vectors: at each of S scales, of shape (S, B, D); need not be normalised.

    Returns:
        Of shape (B, D), not normalised.
    """
    return F.normalize(vectors, dim=-1).amax(dim=0)


class GeM(nn.Module):
    """`gem` as a layer, with SuperGlobal's options (Shao et al., ICCV 2023).

    Args:
        p: the power; its initial value if it is learned.
        learnable: whether p is a parameter.
        clamp: values of the features below it are raised to it, ≥ 0.
        regional: whether `regional_gem` comes first.
    """

    p: Tensor

    def __init__(self, p: float = 3.0, learnable: bool = False, clamp: float = 0.0, regional: bool = False) -> None:
        super().__init__()
        self.clamp = clamp
        self.regional = regional
        if learnable:
            self.p = nn.Parameter(torch.tensor(p))
        else:
            self.register_buffer("p", torch.tensor(p))

    def forward(self, features: Tensor) -> Tensor:
        """Pool features of shape (B, C, H, W) to (B, C)."""
        if self.clamp:
            features = features.clamp_min(self.clamp)
        if self.regional:
            features = regional_gem(features)
        return gem(features, self.p)


def rmac(features: Tensor, levels: int = 3, overlap: float = 0.4) -> Tensor:
    """R-MAC (Tolias, Sicre, Jégou, ICLR 2016): the sum of the unit vectors of `rmac_regions`.

    Args:
        features: of shape (B, C, H, W).
        levels: see `rmac_regions`.
        overlap: see there.

    Returns:
        Of shape (B, C), not normalised.

    Example:
        >>> import torch
        >>> features = torch.rand(2, 8, 12, 16)
        >>> rmac(features).shape, rmac_regions(features).shape
        (torch.Size([2, 8]), torch.Size([2, 21, 8]))
    """
    return rmac_regions(features, levels, overlap).sum(dim=1)


def rmac_regions(features: Tensor, levels: int = 3, overlap: float = 0.4) -> Tensor:
    """The maxima over the whole map and over square regions (Tolias, Sicre, Jégou, ICLR 2016), each L2-normalised.

    With regional whitening, these vectors are whitened and L2-normalised again before they are summed.

    Args:
        features: of shape (B, C, H, W).
        levels: number of levels; the side of the regions of level l is ⌊2 · the shorter side / (l + 1)⌋.
        overlap: desired overlap of neighbouring regions of level 1, as a share of their side; the number of regions
            whose overlap is closest to it is used.

    Returns:
        Unit vectors of shape (B, R, C), that of the whole map first.
    """
    found = squares(features.shape[2], features.shape[3], levels, overlap)
    regions = [features[:, :, top : top + side, left : left + side] for top, left, side in found]
    return F.normalize(torch.stack([mac(region) for region in (features, *regions)], dim=1), dim=-1)


def squares(height: int, width: int, levels: int, overlap: float) -> list[tuple[int, int, int]]:
    """Top, left and side of the square regions of R-MAC on a map of the given size; see `rmac_regions`."""
    shorter, excess = min(height, width), abs(height - width)
    extra = min(_EXTRA_REGIONS, key=lambda count: abs(1 - excess / count / shorter - overlap)) if excess else 0
    squares = []
    for level in range(1, levels + 1):
        side = 2 * shorter // (level + 1)
        tops = _starts(height, side, level + (extra if height > width else 0))
        lefts = _starts(width, side, level + (extra if width > height else 0))
        squares += [(top, left, side) for top in tops for left in lefts if side]
    return squares


def _starts(length: int, side: int, count: int) -> list[int]:
    """The start positions of `count` regions that are spread evenly along one side of the map."""
    return [i * (length - side) // max(count - 1, 1) for i in range(count)]
