"""ArcFace: a margin in the angle of the target class (Deng, Guo, Xue, Zafeiriou, CVPR 2019)."""

import math

import torch
from torch import Tensor

_CLOSEST = 1e-7  # of a squared cosine to 1, where the sine has no finite gradient


def arcface_logits(cosines: Tensor, labels: Tensor, scale: Tensor | float, margin: float) -> Tensor:
    """Logits s cos(θ + m) of the target class and s cos θ of the others.

    Where θ + m is beyond π, the target's logit is s (cos θ − m sin m), so that it still falls with θ.

    Args:
        cosines: cos θ of each sample to each class, of shape (B, C).
        labels: the class of each sample, int64, of shape (B,).
        scale: s, a scalar.
        margin: m, in radians, in [0, π).

    Example:
        >>> import torch
        >>> arcface_logits(torch.tensor([[0.0, 0.25]]), torch.tensor([0]), scale=2.0, margin=torch.pi / 6)
        tensor([[-1.0000,  0.5000]])
    """
    target = cosines.gather(1, labels[:, None])
    sine = (1 - target.square()).clamp_min(_CLOSEST).sqrt()
    moved = target * math.cos(margin) - sine * math.sin(margin)
    moved = torch.where(target > -math.cos(margin), moved, target - margin * math.sin(margin))
    return scale * cosines.scatter(1, labels[:, None], moved)
