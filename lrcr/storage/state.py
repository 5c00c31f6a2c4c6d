"""Unfinished work of a step: a folder outside the project, which the step finds again after it was killed."""

import os
from pathlib import Path
from typing import Any

from lrcr.storage.artifacts import fingerprint
from lrcr.storage.sources import source_fingerprint


def state_root() -> Path:
    """The folder of all unfinished work: `$LRCR_STATE`, or the folder `lrcr` in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("LRCR_STATE") or cache / "lrcr")


def state_folder(step: str, *identity: Any) -> Path:
    """The folder for the unfinished work of a step on given inputs; created if it does not exist.

    Its name is a hash of the inputs and of the step's source code, so that work begun by another version of the code
    is never continued.

    Args:
        step: name of the step's module; its source code includes the modules of lrcr that it imports.
        identity: JSON-able values, such as fingerprints of the inputs.
    """
    folder = state_root() / fingerprint(source_fingerprint(step), *identity)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
