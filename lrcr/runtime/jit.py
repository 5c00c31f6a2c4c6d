"""numba's decorators, typed: functions are compiled for the machine once and cached.

Parallel functions run on numba's own pool of threads (`workqueue`), which works in a forked child and leaves the
threads of torch and faiss alone; OpenMP does neither. The pool takes one call at a time, so calls of several threads
wait for each other.
"""

import os
from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import Any, TypeVar, cast

import numba
import numpy.typing as npt

from lrcr.runtime.cache import compile_cached

Kernel = TypeVar("Kernel", bound=Callable[..., Any])

if "NUMBA_THREADING_LAYER" not in os.environ:
    numba.config.THREADING_LAYER = "workqueue"
_pool = Lock()
os.register_at_fork(before=_pool.acquire, after_in_parent=_pool.release, after_in_child=_pool.release)


def set_numba_threads(number: int) -> None:
    """Set the number of threads of parallel functions; at most as many as numba has started."""
    numba.set_num_threads(min(number, numba.config.NUMBA_NUM_THREADS))


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A view that cannot be written: numba compiles a function once more for arrays that can."""
    view = array.view()
    view.flags.writeable = False
    return view


def parallel(function: Kernel) -> Kernel:
    """Compile a function whose `prange` loops run on all threads; it must not be called by compiled functions."""
    compiled = compile_cached(function, parallel=True)

    @wraps(compiled, updated=())
    def run(*arguments: Any) -> Any:
        with _pool:
            return compiled(*arguments)

    return cast(Kernel, run)


def serial(function: Kernel) -> Kernel:
    """Compile a function."""
    return compile_cached(function)


def reassociated(function: Kernel) -> Kernel:
    """As `serial`, but the compiler may change the order of additions."""
    return compile_cached(function, fastmath={"reassoc", "contract"})
