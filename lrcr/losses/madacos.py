"""MadaCos: a cosine classifier whose scale and margin follow its training (Zhu et al., CFCD, ICCV 2023)."""

import math
from typing import NamedTuple

import torch
import torch.distributed
from torch import Tensor

_LEAST_SCALE = 32.0
_ODDS = 9_999_999.0  # of the median sample's target if its cosine were 1, margin subtracted
_LEAST_DISTANCE = 1e-3  # of the median from cosine 1; keeps the scale below 20,011 and so the gradient finite


class MadaCos(NamedTuple):
    """Logits of shape (B, C), of which the cross-entropy is the loss; and what they were made with, scalars."""

    logits: Tensor
    scale: Tensor
    margin: Tensor
    median: Tensor


def madacos(cosines: Tensor, labels: Tensor, alpha: float = 0.02) -> MadaCos:
    """Logits s (cos − m on the target), with s and m from the sample whose target cosine is the (lower) median c̃.

    s = max(32, ln(9,999,999 (1 − α) / α) / (1 − c̃)); m = max(0, c̃ − ln(B α / (1 − α)) / s), B = Σ_{j≠y} exp(s cos_j)
    of that sample: with this margin its target has probability α, and would have 0.9999999 at cosine 1. No gradient
    passes through s and m. The larger the median becomes, the larger both. A median within 0.001 of 1 counts as 0.999
    in s.

    Where torch.distributed is initialised the median is that of all ranks' samples, and every rank must call this with
    as many samples.

    Args:
        cosines: of each sample to each class, of shape (B, C), B ≥ 1, C ≥ 2; float32 or wider.
        labels: the class of each sample, int64, of shape (B,).
        alpha: α, the probability of the median sample's target, in (0, 1).
    """
    with torch.no_grad():
        odds = math.log((1 - alpha) / alpha)
        targets = cosines.gather(1, labels[:, None])
        median, place = _gather(targets[:, 0]).median(dim=0)
        scale = (math.log(_ODDS) + odds) / (1 - median).clamp_min(_LEAST_DISTANCE)
        scale = scale.clamp_min(_LEAST_SCALE)
        others = (scale * cosines).scatter(1, labels[:, None], -math.inf).logsumexp(dim=1)
        margin = (median - (_gather(others)[place] - odds) / scale).clamp_min(0)
    return MadaCos(cosine_logits(cosines, labels, scale, margin), scale, margin, median)


def cosine_logits(cosines: Tensor, labels: Tensor, scale: Tensor | float, margin: Tensor | float) -> Tensor:
    """Logits s (cos − m on the target) of a given scale and margin (CosFace: Wang et al., CVPR 2018).

    Args:
        cosines: of shape (B, C).
        labels: int64, of shape (B,).
        scale: s, a scalar.
        margin: m, a scalar.

    Returns:
        Of shape (B, C).
    """
    is_target = labels[:, None] == torch.arange(cosines.shape[1], device=cosines.device)
    return scale * (cosines - margin * is_target)


def _gather(values: Tensor) -> Tensor:
    """The values of all ranks, one after the other: of shape (B,) → (ranks · B,)."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return values
    parts = [torch.empty_like(values) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, values.contiguous())
    return torch.cat(parts)
