"""The image files below a user's folder: which can be decoded, and which are refused for what reason. Read only."""

import difflib
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from lrcr.data.images import UnknownFormatError, load_image
from lrcr.errors import DatasetError, ImageError
from lrcr.progress import SILENT, Progress
from lrcr.storage.artifacts import hash_file

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".heic", ".heif", ".avif")


class StoredImage(NamedTuple):
    """An image that can be decoded: its size in pixels as stored, and the SHA-256 of its file."""

    width: int
    height: int
    sha256: str


@dataclass(frozen=True)
class Photos:
    """The files below `root`, by name: accepted images, refused images with the reason, and skipped other files."""

    root: Path
    accepted: dict[str, StoredImage]
    refused: dict[str, str]
    skipped: frozenset[str]

    def require(self, name: str, where: str) -> None:
        """Check that `name` is an accepted image.

        Args:
            where: file and entry that name it, for the error message.

        Raises:
            DatasetError: it is not.
        """
        if name in self.accepted:
            return
        if name in self.refused:
            raise DatasetError(f"{where} names {name!r}, which was refused: {self.refused[name]}")
        if name in self.skipped:
            raise DatasetError(f"{where} names {name!r}, which is hidden or not an image; leave it out")
        hint = "".join(f"; did you mean {near!r}?" for near in difflib.get_close_matches(name, self.accepted, n=1))
        raise DatasetError(f"{where} names {name!r}, which is not under {self.root.resolve().name}/{hint}")


def photos_root(path: Path) -> Path:
    """The folder to which the names of photos are relative: `images/` of a user's folder, or the folder itself.

    Raises:
        DatasetError: the folder does not exist.
    """
    if not path.is_dir():
        raise DatasetError(f"{path}: no such folder; give a folder of images")
    return path / "images" if (path / "images").is_dir() else path


def read_photos(path: Path, *, known: Mapping[str, StoredImage] | None = None, progress: Progress = SILENT) -> Photos:
    """Decode and hash every image below a user's folder, sorted by name.

    Args:
        known: images that were accepted before, by name; those whose hash is still the same are not decoded again.

    Raises:
        DatasetError: the folder does not exist or contains no image.
    """
    root = photos_root(path)
    files = {file.relative_to(root).as_posix(): file for file in _walk(root, frozenset())}
    photos = inspect_photos(root, files, known or {}, path.name, progress)
    if not photos.accepted:
        found = f"{len(files)} files ({len(photos.refused)} refused)"
        raise DatasetError(f"{root}: no images among {found}; add images")
    return photos


def inspect_photos(
    root: Path, files: Mapping[str, Path], known: Mapping[str, StoredImage], title: str, progress: Progress
) -> Photos:
    """Decode and hash some files, sorted by name; see `read_photos`."""
    names = sorted(files)
    accepted, refused, skipped = {}, {}, set()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(_inspect, [files[name] for name in names], map(known.get, names))
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


def _walk(folder: Path, parents: frozenset[Path]) -> Iterator[Path]:
    """All files below a folder, links followed; a link to a folder that contains it is not followed."""
    real = folder.resolve()
    if real in parents:
        return
    try:
        entries = [(entry, entry.is_dir()) for entry in folder.iterdir()]
    except OSError:
        entries = []
        yield folder  # `_inspect` refuses it with a reason
    for entry, is_folder in entries:
        if not is_folder:
            yield entry
        elif not entry.name.startswith("."):
            yield from _walk(entry, parents | {real})


def _inspect(file: Path, known: StoredImage | None) -> StoredImage | str | None:
    """An accepted image, the reason why an image is refused, or None for a file that is not an image."""
    if file.name.startswith("."):
        return None
    if not file.is_file():
        return "not a regular file: a broken link, a pipe or a folder that cannot be listed"
    if known is not None and hash_file(file) == known.sha256:
        return known
    try:
        width, height = load_image(file, orient=False).full_size
    except ImageError as error:
        if isinstance(error, UnknownFormatError) and file.suffix.lower() not in IMAGE_SUFFIXES:
            return None
        return str(error).removeprefix(f"{file}: ")
    return StoredImage(width, height, hash_file(file))
