"""BatchNorm whose statistics are those of all ranks' images, on any device; torch's own wants GPUs."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lrcr.runtime import distributed


class SharedBatchNorm(_BatchNorm):
    """BatchNorm of inputs of shape (B, C, …), of which every rank has as many."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        """Normalise by the statistics of all ranks in training, by the running ones in evaluation."""
        if not self.training:
            return super().forward(input)
        channels = (1, -1, *[1] * (input.dim() - 2))
        others = [dim for dim in range(input.dim()) if dim != 1]
        mean = _mean_of_ranks(input.mean(dim=others))
        centred = input - mean.view(channels)
        variance = _mean_of_ranks(centred.square().mean(dim=others))
        self._remember(mean.detach(), variance.detach(), input.numel() // len(mean) * distributed.world_size())
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale.view(channels) + self.bias.view(channels)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Update the running statistics, as torch does: by the unbiased variance of `count` values."""
        assert self.momentum is not None and self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / max(1, count - 1)), self.momentum)
        self.num_batches_tracked.add_(1)


def _mean_of_ranks(values: Tensor) -> Tensor:
    summed: Tensor = _Sum.apply(values)
    return summed / distributed.world_size()


class _Sum(torch.autograd.Function):
    """The sum over all ranks, whose losses are summed too: so each rank's values get the sum of all gradients."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return distributed.all_reduce_sum(values.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return distributed.all_reduce_sum(gradients[0].clone())


def share_batchnorm(module: nn.Module) -> None:
    """Let every BatchNorm within a module share its statistics with the other ranks, where there are any."""
    if distributed.world_size() == 1:
        return
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            shared = SharedBatchNorm(child.num_features, child.eps, child.momentum)
            shared.weight, shared.bias = child.weight, child.bias
            for buffer, values in child.named_buffers():
                setattr(shared, buffer, values)
            setattr(module, name, shared.train(child.training))
        else:
            share_batchnorm(child)
