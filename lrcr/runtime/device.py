"""The device of the computation, deterministic algorithms, and errors of memory.

Steps without tensors import this module too, so torch is imported in the functions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lrcr.errors import OutOfMemoryError, ParamsError

if TYPE_CHECKING:
    import torch


def resolve_device(name: str) -> "torch.device":
    """The device that `auto | cpu | cuda` names; `auto` is the GPU if there is one.

    Raises:
        ParamsError: `cuda` on a machine without a usable GPU.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ParamsError("device: 'cuda', but no GPU is usable here; set device to 'auto' or 'cpu'")
    return torch.device(name)


def faiss_uses_gpu(name: str) -> bool:
    """Whether faiss uses a GPU for `auto | cpu | cuda`: if there is one, and faiss has code for it.

    Only `cuda` imports torch: to refuse it where there is no GPU.

    Raises:
        ParamsError: as `resolve_device`.
    """
    import faiss

    if name == "cuda":
        resolve_device(name)
    return name != "cpu" and hasattr(faiss, "get_num_gpus") and faiss.get_num_gpus() > 0


def computed_on(device: str) -> dict[str, Any]:
    """What the last bits of a result depend on, for its manifest: the device and the number of threads."""
    import torch

    return {"device": device, "threads": torch.get_num_threads()}


def make_deterministic() -> None:
    """Make cuDNN deterministic: it must not choose algorithms by timing, so that equal params give equal results."""
    import torch

    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


@contextmanager
def explain_out_of_memory(remedy: str) -> Iterator[None]:
    """Turn an out-of-memory error inside the block, of the GPU or the CPU, into one line with a remedy.

    Raises:
        OutOfMemoryError: memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        import torch

        known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not known and not any(text in str(error) for text in _OUT_OF_MEMORY):
            raise
        first_line = str(error).partition("\n")[0] or "MemoryError"
        raise OutOfMemoryError(f"out of memory: {first_line}; {remedy}") from error


_OUT_OF_MEMORY = ("DefaultCPUAllocator", "ALLOC_FAILED")
"""Texts of the RuntimeErrors that mean out of memory: of the CPU, and of cuDNN and cuBLAS."""
