"""Where and how reproducibly the arithmetic runs. Steps without tensors import this too: torch is imported when used."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lrcr.errors import OutOfMemoryError, ParamsError

if TYPE_CHECKING:
    import torch


def resolve_device(name: str) -> "torch.device":
    """Turn `auto | cpu | cuda` into a device; `auto` takes the GPU where there is one.

    Raises:
        ParamsError: `cuda` on a machine without a usable GPU.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ParamsError("device: 'cuda', but no GPU is usable here; set device to 'auto' or 'cpu'")
    return torch.device(name)


def make_deterministic() -> None:
    """Keep cuDNN from choosing algorithms by timing, so that equal params give equal numbers."""
    import torch

    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


@contextmanager
def explain_out_of_memory(remedy: str) -> Iterator[None]:
    """Tell the remedy where memory runs out, on the GPU or off it.

    Raises:
        OutOfMemoryError: it did.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        import torch

        known = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not known and not any(sign in str(error) for sign in _OUT_OF_MEMORY):
            raise
        first = str(error).partition("\n")[0] or "MemoryError"
        raise OutOfMemoryError(f"out of memory: {first}; {remedy}") from error


_OUT_OF_MEMORY = ("DefaultCPUAllocator", "ALLOC_FAILED")
"""What a plain RuntimeError says on the CPU, and of cuDNN's and cuBLAS's own memory."""
