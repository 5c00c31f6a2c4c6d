"""The triplet loss over tuples, on squared distances."""

from torch import Tensor


def triplet_loss(queries: Tensor, positives: Tensor, negatives: Tensor, margin: float) -> Tensor:
    """Σ max(0, ‖q − p‖² − ‖q − n‖² + m) over the negatives n of each query q (Schroff et al., FaceNet, CVPR 2015).

    Args:
        queries: of shape (T, D).
        positives: of shape (T, D).
        negatives: of shape (T, N, D).
        margin: m, in units of the squared distance.

    Returns:
        A scalar; summed, not averaged.
    """
    positive = (queries - positives).square().sum(dim=-1)
    negative = (queries[:, None] - negatives).square().sum(dim=-1)
    return (positive[:, None] - negative + margin).clamp_min(0).sum()
