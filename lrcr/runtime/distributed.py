"""The processes (ranks) that train one model together, started by `torchrun`: shares of the work, and collectives.

`all_reduce_sum`, `all_reduce_gradients`, `gather_rows`, `sum_with_gradient`, `broadcast` and `broadcast_module` are
collectives: all ranks call them, in the same order. In a single process there is one rank, and nothing is sent.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lrcr.errors import LrcrError

Item = TypeVar("Item")

_TIMEOUT = timedelta(days=7)  # ranks wait while rank 0 validates; when a rank dies, torchrun ends the others


def rank() -> int:
    """The number of this process, from 0. Only rank 0 logs and writes."""
    return int(os.environ["RANK"]) if dist.is_torchelastic_launched() else 0


def world_size() -> int:
    """The number of processes that train together."""
    return int(os.environ["WORLD_SIZE"]) if dist.is_torchelastic_launched() else 1


def is_local_main() -> bool:
    """Whether this process is the first one on its machine."""
    return not dist.is_torchelastic_launched() or os.environ["LOCAL_RANK"] == "0"


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the process group of all ranks for the length of the block: NCCL with a GPU for each rank, or gloo on CPUs.

    Raises:
        LrcrError: there are more ranks on this machine than GPUs, or another rank has ended.
    """
    if world_size() == 1:
        yield
        return
    local_rank, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if device.type == "cuda":
        if local_rank >= gpus:
            raise LrcrError(
                f"torchrun: rank {local_rank} of this machine has none of its {gpus} GPUs; start fewer ranks"
            )
        torch.cuda.set_device(local_rank)
    with _explain_lost_rank():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_TIMEOUT)
    yield
    with _explain_lost_rank():
        dist.barrier()
    dist.destroy_process_group()


@contextmanager
def _explain_lost_rank() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LrcrError(f"rank {rank()}: lost another rank ({error!s:.99}…); see the error of that rank") from error


def share(items: Sequence[Item]) -> Sequence[Item]:
    """The items of this rank: every `world_size()`-th one, from item `rank()` on."""
    return items[rank() :: world_size()]


def all_reduce_sum(values: Tensor) -> Tensor:
    """Replace the values by their sum over all ranks, in place, and return them."""
    if world_size() > 1:
        with _explain_lost_rank():
            dist.all_reduce(values)
    return values


def all_reduce_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace gradients by their sum over all ranks; a parameter that has no gradient on any rank keeps none."""
    if world_size() == 1:
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    flags = [float(parameter.grad is not None) for parameter in trained]
    used = all_reduce_sum(torch.tensor(flags, device=trained[0].device)).tolist()
    trained = [parameter for parameter, ranks in zip(trained, used, strict=True) if ranks]
    gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in trained]
    summed = all_reduce_sum(torch.cat([gradient.flatten() for gradient in gradients]))
    for parameter, part in zip(trained, torch.split(summed, [each.numel() for each in trained]), strict=True):
        parameter.grad = part.view_as(parameter)


def gather_rows(values: Tensor) -> Tensor:
    """The rows of all ranks, of shape (ranks · n, …), from n rows of each rank, of shape (n, …), with gradient."""
    if world_size() == 1:
        return values
    rows = values.new_zeros(world_size(), *values.shape)
    return sum_with_gradient(rows.index_copy(0, torch.tensor([rank()], device=rows.device), values[None])).flatten(0, 1)


def sum_with_gradient(values: Tensor) -> Tensor:
    """The sum over all ranks; its gradient is the sum of the ranks' gradients, because their losses are summed."""
    summed: Tensor = _Sum.apply(values)
    return summed


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return all_reduce_sum(values.clone())

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return all_reduce_sum(gradients[0].clone())


def broadcast(work: Callable[[], Item]) -> Item:
    """Call `work` on rank 0 only and return its result on every rank; the others wait."""
    if world_size() == 1:
        return work()
    found: list[Any] = [work() if rank() == 0 else None]
    with _explain_lost_rank():
        dist.broadcast_object_list(found)
    result: Item = found[0]
    return result


def broadcast_module(module: nn.Module) -> None:
    """Replace a module's parameters and buffers by those of rank 0."""
    if world_size() > 1:
        for tensor in module.state_dict().values():
            with _explain_lost_rank():
                dist.broadcast(tensor, 0)
