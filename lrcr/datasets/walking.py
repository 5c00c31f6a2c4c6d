"""The files of a user's folder of photos."""

from collections.abc import Iterator
from pathlib import Path

from lrcr.errors import DatasetError


def photos_root(path: Path) -> Path:
    """The folder to which the names of photos are relative: `images/` of a user's folder, or the folder itself.

    Raises:
        DatasetError: the folder does not exist.
    """
    if not path.is_dir():
        raise DatasetError(f"{path}: no such folder; give a folder of images")
    return path / "images" if (path / "images").is_dir() else path


def walk(folder: Path, parents: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """All files below a folder, links followed; a link to a folder that contains it is not followed.

    What cannot be listed is given as a file.
    """
    try:
        real = folder.resolve()
        entries = [] if real in parents else list(folder.iterdir())
    except OSError:
        yield folder
        return
    for entry in entries:
        if not _is_folder(entry):
            yield entry
        elif not entry.name.startswith("."):
            yield from walk(entry, parents | {real})


def _is_folder(file: Path) -> bool:
    try:
        return file.is_dir()
    except OSError:  # a path that is too long, for example
        return False
