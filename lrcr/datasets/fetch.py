"""Public files on the local disk: the user's own copies, earlier downloads, or else a new download.

Two folders, set by environment variables because they do not affect any result:

- `$LRCR_ARCHIVES`: the user's own copies, under the names in `lrcr.datasets.sources`; read, never written;
- `$LRCR_DOWNLOADS` (by default a folder of the user's cache): downloads, and decompressed archives.

Each file is hashed once, and again when its size or date has changed, and compared with its recorded checksum.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from lrcr.datasets.archives import decompress
from lrcr.datasets.checksums import Checksums
from lrcr.datasets.download import download
from lrcr.datasets.remote import DEFAULT_RETRY_POLICY, Checksum, RemoteFile, RetryPolicy
from lrcr.errors import ArtifactError, DownloadError
from lrcr.progress import SILENT, Progress
from lrcr.storage.artifacts import hash_file, read_json, write_json
from lrcr.storage.locks import wait_for_lock


@dataclass(frozen=True)
class Fetched:
    """A complete and verified file; `checksum` is that of the published file, before any decompression."""

    path: Path
    checksum: Checksum


@dataclass(frozen=True)
class Store:
    """Finds public files on the disk, and downloads the others.

    Args:
        folder: of downloads; created if it does not exist.
        checksums: the recorded checksums of files without a pinned one.
        user_folder: the user's own copies, if any.
        retry: when to retry a mirror.
    """

    folder: Path
    checksums: Checksums
    user_folder: Path | None = None
    retry: RetryPolicy = DEFAULT_RETRY_POLICY

    @classmethod
    def from_environment(cls, checksums: Path) -> "Store":
        """A store in the folders set by the environment; `checksums` is the file of recorded checksums."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = Path(os.environ.get("LRCR_DOWNLOADS") or cache / "lrcr-downloads")
        user_folder = os.environ.get("LRCR_ARCHIVES")
        return cls(folder.absolute(), Checksums(checksums), Path(user_folder).absolute() if user_folder else None)

    def fetch(self, file: RemoteFile, progress: Progress = SILENT) -> Fetched:
        """Find the file on the disk, or download it.

        Raises:
            DownloadError: it cannot be downloaded, does not fit on the disk, or differs from its checksum.
        """
        with self._locked():
            return self._fetch(file, progress)

    def fetch_archive(self, file: RemoteFile, progress: Progress = SILENT) -> Fetched:
        """Fetch a tar archive, decompressed so that its members can be read by their offset.

        A compressed archive is decompressed once, into `folder`. A download is then removed; the user's copy is kept.

        Raises:
            DownloadError: as `fetch`.
            DatasetError: it is not a gzip file, or is too large without compression.
        """
        stem = file.name.removesuffix(".gz").removesuffix(".tgz").removesuffix(".tar")
        archive = self.folder / f"{stem}.tar"
        with self._locked():
            if archive.name == Path(file.name).name:
                return self._link(self._fetch(file, progress), archive)
            source = self._source_checksum(archive)
            if source is not None:
                self._verify(file, source, archive)
                return Fetched(archive, source)
            fetched = self._fetch(file, progress)
            decompress(fetched.path, archive, progress)
            self._cache_checksum(archive, fetched.checksum)
            if fetched.path.is_relative_to(self.folder):
                fetched.path.unlink()
            return Fetched(archive, fetched.checksum)

    def _fetch(self, file: RemoteFile, progress: Progress) -> Fetched:
        for folder in (self.user_folder, self.folder):
            if folder is not None and (folder / file.name).is_file():
                path = folder / file.name
                checksum = self._hash(path)
                self._verify(file, checksum, path)
                return Fetched(path, checksum)
        path = self.folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        expected = file.pinned or self.checksums.get(file.name)
        checksum = download(file, path, expected=expected, retry=self.retry, progress=progress)
        self._cache_checksum(path, checksum)
        self._verify(file, checksum, path)
        return Fetched(path, checksum)

    def _link(self, fetched: Fetched, archive: Path) -> Fetched:
        """Link `archive`, in the folder of downloads, to the user's copy, so that all archives are below one folder."""
        if fetched.path != archive:
            archive.parent.mkdir(parents=True, exist_ok=True)
            archive.unlink(missing_ok=True)
            archive.symlink_to(fetched.path)
        return Fetched(archive, fetched.checksum)

    def _verify(self, file: RemoteFile, found: Checksum, path: Path) -> None:
        if file.pinned is None:
            self.checksums.verify(file.name, found, str(path))
        elif found != file.pinned:
            raise DownloadError(
                f"{path}: has {found.bytes} bytes and SHA-256 {found.sha256}, not the expected {file.pinned.bytes} and "
                f"{file.pinned.sha256}; remove it, and lrcr will download it again"
            )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the folder of downloads; log a warning and wait if another run has locked it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DownloadError(f"{self.folder}: {error.strerror}; set $LRCR_DOWNLOADS to another folder") from None
        waiting = f"{self.folder}: in use by another run; waiting until that run has finished its download"
        with wait_for_lock(self.folder / ".lock", waiting):
            yield

    def _hash(self, path: Path) -> Checksum:
        """The checksum of a file; computed only if its size or date has changed."""
        checksum = self._cached_checksum(path)
        if checksum is None:
            checksum = Checksum(path.stat().st_size, hash_file(path))
            self._cache_checksum(path, checksum)
        return checksum

    def _source_checksum(self, archive: Path) -> Checksum | None:
        """The checksum of the file from which `archive` was decompressed; None if it is missing or has changed."""
        return self._cached_checksum(archive) if archive.is_file() else None

    def _cache_file(self, path: Path) -> Path:
        inside = path.relative_to(self.folder) if path.is_relative_to(self.folder) else path.relative_to("/")
        # A new name of this folder would make lrcr hash every download, and decompress every archive, again.
        return self.folder / ".noted" / inside.with_name(f"{inside.name}.json")

    def _cache_checksum(self, path: Path, checksum: Checksum) -> None:
        write_json(self._cache_file(path), {**_size_and_date(path), "checksum": asdict(checksum)})

    def _cached_checksum(self, path: Path) -> Checksum | None:
        try:
            cached = read_json(self._cache_file(path))
            checksum = Checksum(**cached.pop("checksum"))
            return checksum if cached == _size_and_date(path) else None
        except (ArtifactError, KeyError, TypeError, AttributeError):
            return None


def _size_and_date(path: Path) -> dict[str, int]:
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
