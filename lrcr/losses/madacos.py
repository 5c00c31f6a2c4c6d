"""MadaCos: a cosine classifier whose scale and margin adapt during training (Zhu et al., CFCD, ICCV 2023)."""

import math
from typing import NamedTuple

import torch
import torch.distributed
from torch import Tensor

_MIN_SCALE = 32.0
_ODDS = 9_999_999.0  # odds of the median sample's target class at cosine 1, with the margin
_MIN_DISTANCE = 1e-3  # of the median from cosine 1; the scale stays below 20,011 and the gradient finite


class MadaCos(NamedTuple):
    """Logits of shape (B, C), whose cross-entropy is the loss, and the scalars from which they were computed."""

    logits: Tensor
    scale: Tensor
    margin: Tensor
    median: Tensor


def madacos(cosines: Tensor, labels: Tensor, alpha: float = 0.02) -> MadaCos:
    """Logits s (cos − m) of the target class and s cos of the others, with adaptive scale s and margin m.

    Both follow from the sample whose target cosine is the (lower) median c̃ of the batch:
    s = max(32, ln(9,999,999 (1 − α) / α) / (1 − c̃)), m = max(0, c̃ − ln(B α / (1 − α)) / s), where
    B = Σ_{j≠y} exp(s cos_j) of this sample. With this margin its target has probability α; at cosine 1 it would have
    probability 0.9999999. s and m have no gradient. Both grow with the median. A median above 0.999 counts as 0.999 in
    s.

    If torch.distributed is initialised, the median is over the samples of all ranks. Then all ranks must call this
    function with the same number of samples.

    Args:
        cosines: of each sample to each class, of shape (B, C), B ≥ 1, C ≥ 2; float32 or wider.
        labels: the class of each sample, int64, of shape (B,).
        alpha: α, the probability of the median sample's target, in (0, 1).
    """
    with torch.no_grad():
        odds = math.log((1 - alpha) / alpha)
        targets = cosines.gather(1, labels[:, None])
        median, sample = _gather(targets[:, 0]).median(dim=0)
        scale = (math.log(_ODDS) + odds) / (1 - median).clamp_min(_MIN_DISTANCE)
        scale = scale.clamp_min(_MIN_SCALE)
        others = (scale * cosines).scatter(1, labels[:, None], -math.inf).logsumexp(dim=1)
        margin = (median - (_gather(others)[sample] - odds) / scale).clamp_min(0)
    return MadaCos(cosine_logits(cosines, labels, scale, margin), scale, margin, median)


def cosine_logits(cosines: Tensor, labels: Tensor, scale: Tensor | float, margin: Tensor | float) -> Tensor:
    """Logits s (cos − m) of the target class and s cos of the others (CosFace: Wang et al., CVPR 2018).

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
    """Concatenate the values of all ranks: of shape (B,) → (ranks · B,)."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return values
    parts = [torch.empty_like(values) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, values.contiguous())
    return torch.cat(parts)
