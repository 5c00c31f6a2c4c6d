"""The image files below a user's folder: which can be decoded, and which are refused for what reason. Read only."""

import logging
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

from lrcr.data.decoding import decode
from lrcr.data.formats import UnknownFormatError, is_image_suffix
from lrcr.datasets.near import nearest_name
from lrcr.datasets.walking import photos_root, walk
from lrcr.errors import DatasetError, ImageError, counted
from lrcr.progress import SILENT, Progress
from lrcr.storage.artifacts import hash_file

_log = logging.getLogger(__name__)
_LEAST_SIZE = 1  # a large JPEG is decoded at ⅛ of its size: as thorough a check as in full, in less time and memory


class StoredImage(NamedTuple):
    """An image that can be decoded: its size in pixels as a viewer shows it and as stored, and its file's SHA-256."""

    width: int
    height: int
    sha256: str
    stored: tuple[int, int]
    truncated: bool


@dataclass(frozen=True)
class Photos:
    """The files below `root`, by name: accepted images, refused images with the reason, and skipped other files."""

    root: Path
    accepted: dict[str, StoredImage]
    refused: dict[str, str]
    skipped: frozenset[str]

    @property
    def truncated(self) -> list[str]:
        """The names of the accepted images that lack their last bytes."""
        return [name for name, image in self.accepted.items() if image.truncated]

    @cached_property
    def _of_form(self) -> dict[str, list[str]]:
        """Name in the normal form NFC → the names of images of which it is the form."""
        names: dict[str, list[str]] = {}
        for name in self.accepted:
            names.setdefault(normalize("NFC", name), []).append(name)
        return names

    def find(self, name: str, where: str) -> str:
        """The accepted image with a name; names are compared in Unicode normal form if none is equal.

        Args:
            where: file and entry that name it, for the error message.

        Returns:
            Its name as it is in the file system.

        Raises:
            DatasetError: there is no such image, or there are several.
        """
        if name in self.accepted:
            return name
        found = self._of_form.get(normalize("NFC", name), [])
        if len(found) == 1:
            return found[0]
        if found:
            raise DatasetError(f"{where} names {name!r}: {len(found)} files differ only in Unicode form; rename one")
        if name in self.refused:
            raise DatasetError(f"{where} names {name!r}, which was refused: {self.refused[name]}")
        if name in self.skipped:
            raise DatasetError(f"{where} names {name!r}, which is hidden or not an image; leave it out")
        near = nearest_name(name, self.accepted)
        hint = "" if near is None else f"; did you mean {near!r}?"
        raise DatasetError(f"{where} names {name!r}, which is not under {self.root.resolve().name}/{hint}")


def read_photos(
    path: Path,
    *,
    tolerate_truncated: bool = False,
    known: Mapping[str, StoredImage] | None = None,
    progress: Progress = SILENT,
) -> Photos:
    """Decode and hash every image below a user's folder, sorted by name.

    Args:
        tolerate_truncated: whether JPEGs that lack their last bytes are accepted.
        known: images that were accepted before, by name; those whose hash is still the same are not decoded again.

    Raises:
        DatasetError: the folder does not exist or contains no image.
    """
    root = photos_root(path)
    files = image_files(root)
    return require_some(
        inspect_photos(root, files, known or {}, path.name, progress, tolerate_truncated=tolerate_truncated)
    )


def image_files(root: Path) -> dict[str, Path]:
    """All files below a folder, by name; also those that are no images."""
    return {file.relative_to(root).as_posix(): file for file in walk(root)}


def require_some(photos: Photos) -> Photos:
    """Refuse a folder without images.

    Raises:
        DatasetError: it contains none.
    """
    if not photos.accepted:
        found = f"{counted(len(photos.refused) + len(photos.skipped), 'file')} ({len(photos.refused)} refused)"
        raise DatasetError(f"{photos.root}: no images among {found}; add images")
    return photos


def inspect_photos(
    root: Path,
    files: Mapping[str, Path],
    known: Mapping[str, StoredImage],
    title: str,
    progress: Progress,
    *,
    tolerate_truncated: bool = False,
) -> Photos:
    """Decode and hash some files, sorted by name; see `read_photos`."""
    names = sorted(files)
    accepted, refused, skipped = {}, {}, set()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        inspect = partial(_inspect, tolerate_truncated)
        results = pool.map(inspect, [files[name] for name in names], map(known.get, names))
        for name, result in zip(names, progress.over(results, f"reading {title}", len(names)), strict=True):
            printable = os.fsencode(name).decode("utf-8", "backslashreplace")
            if result is None:
                skipped.add(printable)
            elif isinstance(result, str):
                refused[printable] = result
            elif printable != name:
                refused[printable] = "its name is not UTF-8; rename it"
            else:
                accepted[name] = result
    return Photos(root, accepted, refused, frozenset(skipped))


def warn_of(photos: Photos) -> None:
    """Log how many files were refused, and how many truncated ones were accepted."""
    if photos.refused:
        number, first = counted(len(photos.refused), "file"), next(iter(photos.refused.items()))
        _log.warning("%s: %s refused; the first: %r: %s", photos.root, number, *first)
    if truncated := photos.truncated:
        number = counted(len(truncated), "truncated file")
        _log.warning("%s: %s accepted; the first: %r", photos.root, number, truncated[0])


def _inspect(tolerate_truncated: bool, file: Path, known: StoredImage | None) -> StoredImage | str | None:
    """An accepted image, the reason why an image is refused, or None for a file that is not an image."""
    if file.name.startswith("."):
        return None
    try:
        if not file.is_file():
            return "not a regular file: a broken link, a pipe or a folder that cannot be listed"
        if known is not None and hash_file(file) == known.sha256:
            return known
        image = decode(file, _LEAST_SIZE, tolerate_truncated=tolerate_truncated)
    except ImageError as error:
        if isinstance(error, UnknownFormatError) and not is_image_suffix(file.suffix.lower()):
            return None
        return str(error).removeprefix(f"{file}: ")
    except OSError as error:
        return f"cannot be read ({error.strerror}); rename or move it"
    return StoredImage(*image.shown_size, hash_file(file), image.size, image.truncated)
