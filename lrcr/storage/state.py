"""Unfinished work of a step: kept outside the project, found again by the same step after it was killed."""

import os
from pathlib import Path
from typing import Any

from lrcr.storage.artifacts import fingerprint
from lrcr.storage.sources import source_fingerprint


def state_root() -> Path:
    """Where unfinished work is kept: `$LRCR_STATE`, or the folder `lrcr` of the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("LRCR_STATE") or cache / "lrcr")


def state_folder(step: str, *identity: Any) -> Path:
    """The folder for unfinished work of a step on these inputs; it is made if it does not exist.

    Its name is a hash of the inputs and of the step's source code: work that another version of the code has begun is
    never continued.

    Args:
        step: the module of the step; what it imports belongs to its source code.
        identity: JSON-able values, such as fingerprints of the inputs.
    """
    folder = state_root() / fingerprint(source_fingerprint(step), *identity)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
