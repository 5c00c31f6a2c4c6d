"""The processes that train one model together, started by `torchrun`: who takes what, and how results meet.

`all_reduce_sum`, `all_reduce_gradients`, `broadcast` and `broadcast_module` are collective: all ranks call them, in the
same order. In a single process there is one rank, and they do nothing.
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

_PATIENCE = timedelta(days=7)  # the others wait while the first validates; when one dies torchrun ends them


def rank() -> int:
    """The number of this process, from 0; rank 0, the first, alone logs and writes."""
    return int(os.environ["RANK"]) if dist.is_torchelastic_launched() else 0


def world_size() -> int:
    """How many processes train together."""
    return int(os.environ["WORLD_SIZE"]) if dist.is_torchelastic_launched() else 1


def is_local_main() -> bool:
    """Whether this process is the first on its machine."""
    return not dist.is_torchelastic_launched() or os.environ["LOCAL_RANK"] == "0"


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the other ranks for the length of the block: by NCCL, each with a GPU of its own, or by gloo on CPUs.

    Raises:
        LrcrError: there are more ranks on this machine than GPUs, or another rank has ended.
    """
    if world_size() == 1:
        yield
        return
    own, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if device.type == "cuda":
        if own >= gpus:
            raise LrcrError(f"torchrun: rank {own} of this machine has none of its {gpus} GPUs; start fewer ranks")
        torch.cuda.set_device(own)
    with _meeting():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    yield
    with _meeting():
        dist.barrier()
    dist.destroy_process_group()


@contextmanager
def _meeting() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LrcrError(f"rank {rank()}: has lost another one ({error!s:.99}…); see what that says") from error


def share(items: Sequence[Item]) -> Sequence[Item]:
    """This rank's items: one of every `world_size()`."""
    return items[rank() :: world_size()]


def all_reduce_sum(values: Tensor) -> Tensor:
    """Put the sum over all ranks in the place of this rank's values, and return it."""
    if world_size() > 1:
        with _meeting():
            dist.all_reduce(values)
    return values


def all_reduce_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give each parameter the sum of its gradients over all ranks; one that has none on any keeps none."""
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


def broadcast(work: Callable[[], Item]) -> Item:
    """What the first rank's work returns; the others wait for it."""
    if world_size() == 1:
        return work()
    found: list[Any] = [work() if rank() == 0 else None]
    with _meeting():
        dist.broadcast_object_list(found)
    result: Item = found[0]
    return result


def broadcast_module(module: nn.Module) -> None:
    """Give a module the first rank's parameters and buffers."""
    if world_size() > 1:
        for tensor in module.state_dict().values():
            with _meeting():
                dist.broadcast(tensor, 0)
