"""A list of a user's folder of photos: names, sizes and times. A change is noticed by it, and no file is read."""

from pathlib import Path

from lrcr.datasets.walking import photos_root, walk
from lrcr.storage.artifacts import staged_file

_TABLES = ("labels.csv", "ground_truth.json", "regions.csv")


def list_folder(folder: Path, target: Path) -> None:
    """Write a line for each file that the dataset of a folder depends on: its name, bytes, and time in nanoseconds.

    Raises:
        DatasetError: the folder does not exist.
    """
    found = [*walk(photos_root(folder)), *(file for name in _TABLES if (file := folder / name).exists())]
    lines = {_line(file, len(str(folder)) + 1) for file in found if not file.name.startswith(".")}
    with staged_file(target) as temporary:
        temporary.write_text("".join(sorted(lines)), encoding="utf-8", errors="surrogateescape")


def _line(file: Path, start: int) -> str:
    try:
        status = file.stat()
    except OSError:  # a link to nothing, for example; it is refused, with a reason, where it is read
        return f"{str(file)[start:]}\t-\n"
    return f"{str(file)[start:]}\t{status.st_size}\t{status.st_mtime_ns}\n"
