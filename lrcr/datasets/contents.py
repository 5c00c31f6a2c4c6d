"""The images inside archives: where each is, and whether it can be decoded.

Every wanted image is decoded once, so that a damaged image is found now and not during a long extraction. The result
for each archive is stored in the state folder, so that a run after a kill continues with the next archive.
"""

import logging
import os
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from lrcr.data.dataset import ArchivedImage
from lrcr.data.hashes import hash_contents
from lrcr.data.images import load_image
from lrcr.datasets.archives import Member, list_members
from lrcr.datasets.fetch import Fetched
from lrcr.errors import DatasetError, ImageError, counted
from lrcr.progress import SILENT, Progress
from lrcr.runtime.jobs import Executor, Job
from lrcr.runtime.processes import InProcess
from lrcr.runtime.shares import Share, own_share
from lrcr.storage.artifacts import staged_file
from lrcr.storage.state import state_folder

_log = logging.getLogger(__name__)
_TYPES = {
    **dict.fromkeys(("key", "path", "archive"), "string"),
    **dict.fromkeys(("offset", "bytes", "width", "height"), "int64"),
    "refused": "string",
}


@dataclass(frozen=True)
class FoundImages:
    """The wanted images that are in some archives.

    Args:
        root: folder that contains the archives.
        images: columns `path`, `archive`, `offset`, `bytes`, `width`, `height`, indexed by key (`image_key`).
        refused: path in its archive → reason why the image cannot be decoded.
        sha256: one hash over the hashes of all archives.
        keys: of the wanted images.
    """

    root: Path
    images: pd.DataFrame
    refused: dict[str, str]
    sha256: str
    keys: frozenset[str]

    def remove_state(self) -> None:
        """Remove the stored results; to be called when the dataset is complete."""
        with _state(self.keys):
            pass

    @property
    def refused_keys(self) -> frozenset[str]:
        """Keys of which no image can be decoded."""
        return frozenset(map(image_key, self.refused)) - frozenset(self.images.index)

    def rows(self, keys: Sequence[str], where: Path) -> pd.DataFrame:
        """The rows of `images` with these keys, in the given order.

        Args:
            where: the file that names the keys, for the error message.

        Raises:
            DatasetError: one of them is not in the archives, or cannot be decoded.
        """
        missing = [key for key in keys if key not in self.images.index]
        if missing:
            reasons = {image_key(path): f"refused: {reason}" for path, reason in self.refused.items()}
            reason = reasons.get(missing[0], "not in the archives")
            raise DatasetError(
                f"{where}: names {missing[0]!r}, which is {reason} ({len(missing)} such images in all); "
                "download the archives again"
            )
        return self.images.loc[list(keys)].reset_index(drop=True)


def image_key(name: str) -> str:
    """The key of an image: its name without folders and suffix, by which ground truth and archives agree."""
    return PurePosixPath(name).stem


def find_images(
    archives: Sequence[Fetched], root: Path, wanted: Collection[str], progress: Progress = SILENT
) -> FoundImages:
    """Find images in archives below `root` and decode each once; tasks of an array job share the archives.

    Args:
        wanted: keys of the images; if several images have the same key, the first is used.

    Raises:
        DatasetError: an archive is damaged.
        ShareMade: this process has made its share.
    """
    keys = frozenset(wanted)
    share = own_share()
    executor: Executor = InProcess() if share is None else Share(*share)
    with _state(keys, kept=True) as state:
        files = [state / f"{archive.checksum.sha256}.parquet" for archive in archives]
        jobs = [Job([archives[number].path], file, number) for number, file in enumerate(files)]
        executor.map(_InspectArchive(root, keys), [job for job in jobs if not job.file.exists()], progress)
        table = pd.concat(map(pd.read_parquet, files), ignore_index=True)
    refused = table.dropna(subset="refused")
    sound = table[table["refused"].isna()].drop(columns="refused")
    first = sound.drop_duplicates("key").set_index("key")
    hashes = {str(archive.path.relative_to(root)): archive.checksum.sha256 for archive in archives}
    reasons = dict(zip(refused["path"], refused["refused"], strict=True))
    if len(first) < len(sound):
        same = counted(len(sound) - len(first), "image")
        _log.warning("%s: %s with the name of an earlier image; ignored", root, same)
    return FoundImages(root, first, reasons, hash_contents(hashes), keys)


def _state(keys: frozenset[str], *, kept: bool = False) -> AbstractContextManager[Path]:
    return state_folder(__name__, sorted(keys), shared=own_share() is not None, kept=kept)


@dataclass(frozen=True)
class _InspectArchive:
    """Writes the table of the wanted images of one archive; see `lrcr.runtime.jobs.Make`."""

    root: Path
    keys: frozenset[str]

    def __call__(self, archives: Sequence[Path], file: Path, progress: Progress) -> None:
        table = _inspect_archive(archives[0], self.root, self.keys, progress)
        with staged_file(file) as temporary:
            table.to_parquet(temporary, index=False)


def _inspect_archive(archive: Path, root: Path, keys: frozenset[str], progress: Progress) -> pd.DataFrame:
    members = [member for member in list_members(archive) if image_key(member.name) in keys]
    name = str(archive.relative_to(root))

    def inspect(member: Member) -> tuple[object, ...]:
        image = ArchivedImage(archive, member.name, member.offset, member.bytes)
        place = (image_key(member.name), member.name, name, member.offset, member.bytes)
        try:
            return (*place, *load_image(image, orient=False).full_size, None)
        except ImageError as error:
            return (*place, 0, 0, str(error).removeprefix(f"{image}: "))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = list(progress.over(pool.map(inspect, members), f"decode images of {archive.name}", len(members)))
    return pd.DataFrame(rows, columns=list(_TYPES)).astype(_TYPES)
