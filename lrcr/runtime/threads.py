"""The number of threads of torch, numba and faiss: one setting for the whole process.

Import this module before these libraries: they read the environment once.
"""

import os
import sys

from lrcr.errors import ParamsError

# Idle OpenMP threads sleep. By default they spin, and on a busy machine training takes up to ten times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def use_threads(threads: int | None) -> None:
    """Set the number of threads of this process and of the processes that it starts.

    Libraries that are not imported yet read it from the environment.

    Args:
        threads: the param `threads`; None: `$LRCR_THREADS`, else `$OMP_NUM_THREADS`, else all cores that are usable.

    Raises:
        ParamsError: `$LRCR_THREADS` is not a whole number above 0.
    """
    number = threads or _default()
    os.environ["OMP_NUM_THREADS"] = str(number)
    if "numba" in sys.modules:  # before the others: an OpenMP pool of numba's sets their number when it starts
        from lrcr.runtime.jit import set_numba_threads

        set_numba_threads(number)
    else:
        os.environ["NUMBA_NUM_THREADS"] = str(number)
    set_openmp_threads(number)


def set_openmp_threads(number: int) -> None:
    """Set the number of threads of torch and faiss, if they are imported."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(number)
    if "faiss" in sys.modules:
        sys.modules["faiss"].omp_set_num_threads(number)


def _default() -> int:
    if given := os.environ.get("LRCR_THREADS"):
        if not given.isdecimal() or int(given) < 1:
            raise ParamsError(f"LRCR_THREADS: {given!r} is not a number of threads; give 1 or more")
        return int(given)
    openmp = os.environ.get("OMP_NUM_THREADS", "")
    if openmp.isdecimal() and int(openmp):
        return int(openmp)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
