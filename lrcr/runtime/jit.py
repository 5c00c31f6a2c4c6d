"""numba's decorators, typed: functions are compiled for the machine once and cached next to their source."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

parallel: Callable[[Kernel], Kernel] = numba.njit(cache=True, parallel=True)
serial: Callable[[Kernel], Kernel] = numba.njit(cache=True)
reassociated: Callable[[Kernel], Kernel] = numba.njit(cache=True, fastmath={"reassoc", "contract"})
"""`serial`, but the compiler may change the order of additions."""
