"""A folder for what a benchmark computed, which a run that was killed finds again."""

from pathlib import Path

from lrcr.storage.state import state_root


def cache_folder(name: str) -> Path:
    """The folder of this name, below the one for unfinished work; it is made if it does not exist."""
    folder = state_root() / "benchmarks" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder
