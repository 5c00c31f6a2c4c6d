"""Reading the photos of a user's folder in shards, which the tasks of an array job share.

A shard is a JSON file of what was found in some files. Without an array job the photos are read in memory.
"""

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lrcr.datasets.photos import (
    Photos,
    StoredImage,
    image_files,
    inspect_photos,
    read_photos,
    require_some,
)
from lrcr.datasets.walking import photos_root
from lrcr.progress import SILENT, Progress
from lrcr.runtime.executor import choose_executor, make_shards
from lrcr.runtime.shares import own_share
from lrcr.storage.artifacts import fingerprint, read_json, write_json
from lrcr.storage.sources import source_fingerprint
from lrcr.storage.state import only_run, state_root

_SHARD = 1000  # files


def scan_photos(path: Path, *, tolerate_truncated: bool, progress: Progress = SILENT) -> Photos:
    """Read the photos of a folder as `read_photos`; in shards if this process makes a share, or if others have.

    Raises:
        DatasetError: the folder does not exist or contains no image.
        ShareMade: this process has made its share.
    """
    shared = own_share() is not None
    if not shared and not _scans().exists():
        return read_photos(path, tolerate_truncated=tolerate_truncated, progress=progress)
    root = photos_root(path)
    files = image_files(root)
    state = _state(root, files, tolerate_truncated)
    with contextlib.nullcontext() if shared else only_run(state):
        if not shared and not state.exists():
            return read_photos(path, tolerate_truncated=tolerate_truncated, progress=progress)
        return _read_shards(root, files, state, tolerate_truncated, progress)


def _read_shards(
    root: Path, files: Mapping[str, Path], state: Path, tolerate_truncated: bool, progress: Progress
) -> Photos:
    state.mkdir(parents=True, exist_ok=True)
    make, names = _Inspect(root, tolerate_truncated), sorted(files)
    shards = make_shards(make, names, _SHARD, state, ".json", progress, f"reading {root.name}", choose_executor())
    found = [read_json(shard) for shard in shards]
    accepted = {
        name: StoredImage(width, height, sha256, (stored[0], stored[1]), truncated)
        for shard in found
        for name, (width, height, sha256, stored, truncated) in shard["accepted"].items()
    }
    refused = {name: reason for shard in found for name, reason in shard["refused"].items()}
    skipped = frozenset(name for shard in found for name in shard["skipped"])
    return require_some(Photos(root, accepted, refused, skipped))


def remove_scan(photos: Photos, *, tolerate_truncated: bool) -> None:
    """Remove the shards of `scan_photos`, if there are any; to be called when the dataset is complete."""
    if _scans().exists():
        state = _state(photos.root, image_files(photos.root), tolerate_truncated)
        with only_run(state):
            shutil.rmtree(state, ignore_errors=True)
        with contextlib.suppress(OSError):  # it holds the shards of other folders
            _scans().rmdir()


@dataclass(frozen=True)
class _Inspect:
    """Writes what is found in some files; see `lrcr.runtime.jobs.Make`."""

    root: Path
    tolerate_truncated: bool

    def __call__(self, names: Sequence[str], file: Path, progress: Progress) -> None:
        files = {name: self.root / name for name in names}
        photos = inspect_photos(self.root, files, {}, "", SILENT, tolerate_truncated=self.tolerate_truncated)
        progress.advance(len(names))
        found = {"accepted": photos.accepted, "refused": photos.refused, "skipped": sorted(photos.skipped)}
        write_json(file, found)


def _scans() -> Path:
    return state_root() / "scans"


def _state(root: Path, files: Mapping[str, Path], tolerate_truncated: bool) -> Path:
    """The folder of the shards, which are valid as long as names, sizes and dates of all files stay the same."""
    described = [(name, *_size_and_date(files[name])) for name in sorted(files)]
    identity = (source_fingerprint(__name__), str(root.resolve()), tolerate_truncated, _SHARD, described)
    return _scans() / fingerprint(*identity)


def _size_and_date(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns
