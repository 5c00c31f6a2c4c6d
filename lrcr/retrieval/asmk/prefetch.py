"""Prefetch of memory that a loop will read soon: lists and centroids are scattered, and cache misses cost most."""

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from lrcr.runtime.jit import serial

LINE = 64
"""Size of a cache line in bytes."""


@intrinsic  # type: ignore[untyped-decorator]
def _prefetch(_typing: Any, address: Any) -> Any:
    """The CPU's prefetch instruction for the cache line at an address; a wrong address is ignored."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        read, keep, data = number(0), number(3), number(1)
        builder.call(function, [pointer, read, keep, data])
        return context.get_dummy_value()

    return types.void(types.uintp), generate


@serial
def prefetch_rows(array: npt.NDArray[Any], first: int, count: int) -> None:
    """Start loading rows of a contiguous array into the cache, without waiting."""
    start = array.ctypes.data + first * array.strides[0]
    for byte in range(0, count * array.strides[0], LINE):
        _prefetch(np.uintp(start + byte))
