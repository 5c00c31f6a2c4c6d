"""The query photos of `lrcr search`: named files, the photos of folders, and those that a list names."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lrcr.errors import ParamsError


@dataclass(frozen=True)
class QueryPhoto:
    """A query photo.

    Args:
        path: its file.
        named: whether the command names it; one of a folder or a list is passed over if it cannot be read.
    """

    path: Path
    named: bool


def find_queries(given: Sequence[Path]) -> list[QueryPhoto]:
    """The query photos that are given.

    Args:
        given: photos, folders (with their subfolders), and .txt files that name a photo in each line, relative to
            their own folder.

    Raises:
        ParamsError: nothing is given, or a folder or a list names no photo, or a list is missing or cannot be read.
    """
    if not given:
        raise ParamsError("QUERY: missing; name photos, or a file with --descriptors")
    return [query for path in given for query in _find(path)]


def _find(path: Path) -> Iterator[QueryPhoto]:
    if path.is_dir():
        files = _photos_below(path)
    elif path.suffix == ".txt":
        files = _read_list(path)
    else:
        yield QueryPhoto(path, named=True)
        return
    if not files:
        raise ParamsError(f"{path}: names no photo; add some")
    yield from (QueryPhoto(file, named=False) for file in files)


def _photos_below(folder: Path) -> list[Path]:
    from lrcr.data.formats import is_image_suffix  # imports Pillow

    return sorted(file for file in folder.rglob("*") if is_image_suffix(file.suffix.lower()) and file.is_file())


def _read_list(file: Path) -> list[Path]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise ParamsError(f"{file}: no such file; name a list of photos, or a photo") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ParamsError(f"{file}: not a list of photos ({error}); write one name a line, in UTF-8") from None
    return [file.parent / line for line in map(str.strip, lines) if line]
