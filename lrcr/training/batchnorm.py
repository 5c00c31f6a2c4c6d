"""BatchNorm with statistics over the images of all ranks, on any device (torch.nn.SyncBatchNorm needs GPUs)."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lrcr.runtime import distributed


class SyncBatchNorm(_BatchNorm):
    """BatchNorm of inputs of shape (B, C, …), then `drop` and `act`; B must be the same on all ranks.

    timm's BatchNorm holds these two modules; of any other BatchNorm they are the identity.
    """

    def __init__(self, features: int, eps: float = 1e-5, momentum: float | None = 0.1) -> None:
        super().__init__(features, eps, momentum)
        self.drop: nn.Module = nn.Identity()
        self.act: nn.Module = nn.Identity()

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        """Normalise by the statistics of all ranks in training mode, by the running statistics in evaluation mode."""
        normalised: Tensor = self.act(self.drop(self._normalise(input)))
        return normalised

    def _normalise(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        channels = (1, -1, *[1] * (input.dim() - 2))
        others = [dim for dim in range(input.dim()) if dim != 1]
        mean = _mean_of_ranks(input.mean(dim=others))
        centred = input - mean.view(channels)
        variance = _mean_of_ranks(centred.square().mean(dim=others))
        self._update_running_statistics(
            mean.detach(), variance.detach(), input.numel() // len(mean) * distributed.world_size()
        )
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale.view(channels) + self.bias.view(channels)

    @torch.no_grad()
    def _update_running_statistics(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Update the running statistics as torch does, with the unbiased variance of `count` values."""
        assert self.momentum is not None and self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(1, count - 1)), self.momentum)
        self.num_batches_tracked.add_(1)


def _mean_of_ranks(values: Tensor) -> Tensor:
    return distributed.sum_with_gradient(values) / distributed.world_size()


def sync_batchnorm(module: nn.Module) -> None:
    """Replace every BatchNorm of a module by `SyncBatchNorm`, in place, if there are several ranks."""
    if distributed.world_size() == 1:
        return
    for key, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            synced = SyncBatchNorm(child.num_features, child.eps, child.momentum)
            synced.weight, synced.bias = child.weight, child.bias
            synced.drop, synced.act = getattr(child, "drop", synced.drop), getattr(child, "act", synced.act)
            for buffer, values in child.named_buffers():
                setattr(synced, buffer, values)
            setattr(module, key, synced.train(child.training))
        else:
            sync_batchnorm(child)
