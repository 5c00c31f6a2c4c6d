"""The images inside archives: where each lies, whether it can be decoded, and which are lacking.

Every wanted image is decoded once, so that a damaged one is known before days of extraction meet it. What has been seen
of an archive is kept in the state folder: a killed run goes on with the next archive.
"""

import logging
import os
import shutil
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from lrcr.data.dataset import ArchivedImage, hash_contents
from lrcr.data.images import load_image
from lrcr.datasets.archives import Member, list_members
from lrcr.datasets.fetch import Fetched
from lrcr.errors import DatasetError, ImageError
from lrcr.progress import SILENT, Progress
from lrcr.storage.artifacts import staged_file
from lrcr.storage.state import state_folder

_log = logging.getLogger(__name__)
_TYPES = {
    **dict.fromkeys(("key", "path", "archive"), "string"),
    **dict.fromkeys(("offset", "bytes", "width", "height"), "int64"),
    "refused": "string",
}


@dataclass(frozen=True)
class Contents:
    """The wanted images of some archives.

    Args:
        root: folder below which the archives lie.
        images: columns `path`, `archive`, `offset`, `bytes`, `width`, `height`, by key: the name in the archive without
            folders and suffix.
        refused: path in its archive → why the image cannot be decoded.
        sha256: of all archives together.
        state: where a later run would find what has been seen.
    """

    root: Path
    images: pd.DataFrame
    refused: dict[str, str]
    sha256: str
    state: Path

    def forget(self) -> None:
        """Remove what a later run would have gone on from; for whoever has stored these contents."""
        shutil.rmtree(self.state, ignore_errors=True)

    @property
    def refused_keys(self) -> frozenset[str]:
        """The keys of the images that cannot be decoded and have no sound namesake."""
        return frozenset(map(key_of, self.refused)) - frozenset(self.images.index)

    def rows(self, keys: Sequence[str], where: Path) -> pd.DataFrame:
        """The images of these keys in their order.

        Raises:
            DatasetError: one is not in the archives, or cannot be decoded.
        """
        missing = [key for key in keys if key not in self.images.index]
        if missing:
            reasons = {key_of(path): f"refused: {reason}" for path, reason in self.refused.items()}
            reason = reasons.get(missing[0], "not in the archives")
            raise DatasetError(
                f"{where}: names {missing[0]!r}, which is {reason} (so are {len(missing) - 1} others); "
                "get the archives again from their publisher"
            )
        return self.images.loc[list(keys)].reset_index(drop=True)


def key_of(name: str) -> str:
    """What identifies an image among archives: its name without folders and suffix."""
    return PurePosixPath(name).stem


def find_images(
    archives: Sequence[Fetched], root: Path, wanted: Collection[str], progress: Progress = SILENT
) -> Contents:
    """Look for images in archives below `root`.

    Args:
        wanted: their keys; of several images with one key the first counts.

    Raises:
        DatasetError: an archive is damaged.
    """
    keys = frozenset(wanted)
    state = state_folder(__name__, sorted(keys))
    tables = [_read_or_look(archive, root, keys, state, progress) for archive in archives]
    table = pd.concat(tables, ignore_index=True)
    refused = table.dropna(subset="refused")
    sound = table[table["refused"].isna()].drop(columns="refused")
    first = sound.drop_duplicates("key").set_index("key")
    hashes = {str(archive.path.relative_to(root)): archive.checksum.sha256 for archive in archives}
    reasons = dict(zip(refused["path"], refused["refused"], strict=True))
    if len(first) < len(sound):
        _log.warning("%s: %d images stand there twice; the first counts", root, len(sound) - len(first))
    return Contents(root, first, reasons, hash_contents(hashes), state)


def _read_or_look(archive: Fetched, root: Path, keys: frozenset[str], state: Path, progress: Progress) -> pd.DataFrame:
    """What one archive holds, from an earlier run where there was one."""
    seen = state / f"{archive.checksum.sha256}.parquet"
    if not seen.exists():
        table = _look(archive.path, root, keys, progress)
        with staged_file(seen) as temporary:
            table.to_parquet(temporary, index=False)
    return pd.read_parquet(seen)


def _look(archive: Path, root: Path, keys: frozenset[str], progress: Progress) -> pd.DataFrame:
    members = [member for member in list_members(archive) if key_of(member.name) in keys]
    name = str(archive.relative_to(root))

    def look(member: Member) -> tuple[object, ...]:
        image = ArchivedImage(archive, member.name, member.offset, member.bytes)
        place = (key_of(member.name), member.name, name, member.offset, member.bytes)
        try:
            return (*place, *load_image(image, orient=False).full_size, None)
        except ImageError as error:
            return (*place, 0, 0, str(error).removeprefix(f"{image}: "))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = list(progress.over(pool.map(look, members), f"look into {archive.name}", len(members)))
    return pd.DataFrame(rows, columns=list(_TYPES)).astype(_TYPES)
