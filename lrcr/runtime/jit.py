"""numba's decorators with types: loops compiled once for the machine and kept beside the source."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

parallel: Callable[[Kernel], Kernel] = numba.njit(cache=True, parallel=True)
serial: Callable[[Kernel], Kernel] = numba.njit(cache=True)
reassociated: Callable[[Kernel], Kernel] = numba.njit(cache=True, fastmath={"reassoc", "contract"})
"""`serial` with sums in whatever order the machine adds fastest."""
