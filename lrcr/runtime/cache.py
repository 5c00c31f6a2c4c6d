"""Where compiled functions are cached: where numba finds a place, else in a temporary folder, else nowhere.

numba looks for a folder that it may write: `$NUMBA_CACHE_DIR`, beside the source, in the user's home.
"""

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compile_cached(function: Kernel, **options: Any) -> Kernel:
    """`numba.njit` with a cache, if there is a folder for one.

    Args:
        options: of `numba.njit`.
    """
    try:
        compiled: Kernel = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba may write nowhere
        folder = _temporary_folder()
        if folder is not None and str(folder) != numba.config.CACHE_DIR:
            numba.config.CACHE_DIR = str(folder)
            return compile_cached(function, **options)
        compiled = numba.njit(**options)(function)
    return compiled


def _temporary_folder() -> Path | None:
    """A folder that no other user may write, because numba unpickles and runs what is in it; None: not possible."""
    try:
        folder = Path(tempfile.gettempdir(), f"lrcr-numba-{os.geteuid()}")
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022
    return folder if is_own else None
