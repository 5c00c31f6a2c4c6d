"""From a map of features to one vector."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LEAST = 1e-6  # to which GeM lifts features: powers of what is not positive have no gradient
_EXTRA = range(1, 7)  # regions that R-MAC adds along the longer side


def attention_pool(features: Tensor, attention: Tensor) -> Tensor:
    """HOW's training descriptor: the L2-normalised sum of attention × feature.

    Args:
        features: of shape (B, D, H, W).
        attention: of shape (B, H, W); its scale is of no account.

    Returns:
        Unit vectors of shape (B, D).
    """
    return F.normalize((features * attention[:, None]).sum(dim=(2, 3)), dim=1)


def mac(features: Tensor) -> Tensor:
    """Maximum over locations (Razavian et al., 2014): features of shape (B, C, H, W) → (B, C), not normalised."""
    return features.amax(dim=(2, 3))


def spoc(features: Tensor) -> Tensor:
    """Mean over locations (Babenko and Lempitsky, ICCV 2015): features of shape (B, C, H, W) → (B, C), as they are."""
    return features.mean(dim=(2, 3))


def gem(features: Tensor, p: Tensor | float = 3.0) -> Tensor:
    """Generalised mean (mean x^p)^(1/p) over locations (Radenović et al., TPAMI 2019); SPoC at p = 1, MAC as p → ∞.

    Args:
        features: of shape (B, C, H, W); what is below 1e-6 counts as that.
        p: the power, above 0; a scalar.

    Returns:
        Of shape (B, C), not normalised.
    """
    return features.clamp_min(_LEAST).pow(p).mean(dim=(2, 3)).pow(1 / p)


class GeM(nn.Module):
    """`gem` with a power of its own.

    Args:
        p: the power, at first where it is learned.
        learnable: whether p is a parameter.
    """

    p: Tensor

    def __init__(self, p: float = 3.0, learnable: bool = False) -> None:
        super().__init__()
        if learnable:
            self.p = nn.Parameter(torch.tensor(p))
        else:
            self.register_buffer("p", torch.tensor(p))

    def forward(self, features: Tensor) -> Tensor:
        """Pool features of shape (B, C, H, W) to (B, C)."""
        return gem(features, self.p)


def rmac(features: Tensor, levels: int = 3, overlap: float = 0.4) -> Tensor:
    """Sum of the unit vectors of `rmac_regions`: features of shape (B, C, H, W) → (B, C), not normalised."""
    return rmac_regions(features, levels, overlap).sum(dim=1)


def rmac_regions(features: Tensor, levels: int = 3, overlap: float = 0.4) -> Tensor:
    """Maxima of the whole map and of square regions (R-MAC: Tolias, Sicre, Jégou, ICLR 2016), each L2-normalised.

    Regional whitening is applied to these and followed by another L2 normalisation, before they are summed.

    Args:
        features: of shape (B, C, H, W).
        levels: at level l the regions' side is ⌊2 · the shorter side / (l + 1)⌋.
        overlap: of neighbouring regions of level 1, as a share of their side; met as nearly as can be.

    Returns:
        Unit vectors of shape (B, R, C), the whole map's first.
    """
    squares = _squares(features.shape[2], features.shape[3], levels, overlap)
    regions = [features[:, :, top : top + side, left : left + side] for top, left, side in squares]
    return F.normalize(torch.stack([mac(region) for region in (features, *regions)], dim=1), dim=-1)


def _squares(height: int, width: int, levels: int, overlap: float) -> list[tuple[int, int, int]]:
    """Top, left and side of R-MAC's regions on a map."""
    shorter, excess = min(height, width), abs(height - width)
    extra = min(_EXTRA, key=lambda count: abs(1 - excess / count / shorter - overlap)) if excess else 0
    squares = []
    for level in range(1, levels + 1):
        side = 2 * shorter // (level + 1)
        tops = _starts(height, side, level + (extra if height > width else 0))
        lefts = _starts(width, side, level + (extra if width > height else 0))
        squares += [(top, left, side) for top in tops for left in lefts if side]
    return squares


def _starts(length: int, side: int, count: int) -> list[int]:
    """Where `count` regions begin that are spread evenly from one end of the map to the other."""
    return [i * (length - side) // max(count - 1, 1) for i in range(count)]
