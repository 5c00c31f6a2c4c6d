"""Public files where lrcr can read them: the user's own copies first, then what was downloaded, then the web.

Two folders, named by the environment because they change no result:

- `$LRCR_ARCHIVES`: the user's own copies, by the names of `lrcr.datasets.sources`; read, never written;
- `$LRCR_DOWNLOADS` (a folder of the user's cache by default): what lrcr downloads, and archives without compression.

Whatever is used is hashed once (again when its size or date changes) and compared with its recorded checksum.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from lrcr.datasets.archives import decompress
from lrcr.datasets.checksums import Checksums
from lrcr.datasets.download import download
from lrcr.datasets.remote import DEFAULT_PATIENCE, Checksum, Patience, RemoteFile
from lrcr.errors import ArtifactError, DownloadError
from lrcr.progress import SILENT, Progress
from lrcr.storage.artifacts import hash_file, read_json, write_json

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fetched:
    """A file that is here, complete and checked; `checksum` is that of the file as it is published."""

    path: Path
    checksum: Checksum


@dataclass(frozen=True)
class Store:
    """Where public files are looked for and kept.

    Args:
        folder: of downloads; made where it is missing.
        checksums: the record that every file is compared with.
        own: the user's own copies, if any.
        patience: with mirrors.
    """

    folder: Path
    checksums: Checksums
    own: Path | None = None
    patience: Patience = DEFAULT_PATIENCE

    @classmethod
    def from_environment(cls, checksums: Path) -> "Store":
        """The folders that the environment names; `checksums` is the file of the record."""
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = Path(os.environ.get("LRCR_DOWNLOADS") or cache / "lrcr-downloads")
        own = os.environ.get("LRCR_ARCHIVES")
        return cls(folder.absolute(), Checksums(checksums), Path(own).absolute() if own else None)

    def fetch(self, file: RemoteFile, progress: Progress = SILENT) -> Fetched:
        """The file, downloaded if it is not here.

        Raises:
            DownloadError: it cannot be downloaded, does not fit on the disk, or is another one than expected.
        """
        with self._locked():
            return self._fetch(file, progress)

    def fetch_archive(self, file: RemoteFile, progress: Progress = SILENT) -> Fetched:
        """A tar archive without compression, whose members can be read by their offset.

        A compressed one is decompressed once; its download is removed then, a copy of the user's stays.

        Raises:
            DownloadError: as `fetch`.
            DatasetError: it is not gzip, or a bomb.
        """
        stem = file.name.removesuffix(".gz").removesuffix(".tgz").removesuffix(".tar")
        archive = self.folder / f"{stem}.tar"
        with self._locked():
            if archive.name == Path(file.name).name:
                return self._link(self._fetch(file, progress), archive)
            source = self._decompressed_from(archive)
            if source is not None:
                self._confirm(file, source, archive)
                return Fetched(archive, source)
            fetched = self._fetch(file, progress)
            decompress(fetched.path, archive, progress)
            self._note(archive, fetched.checksum)
            if fetched.path.is_relative_to(self.folder):
                fetched.path.unlink()
            return Fetched(archive, fetched.checksum)

    def _fetch(self, file: RemoteFile, progress: Progress) -> Fetched:
        for folder in (self.own, self.folder):
            if folder is not None and (folder / file.name).is_file():
                path = folder / file.name
                checksum = self._hash(path)
                self._confirm(file, checksum, path)
                return Fetched(path, checksum)
        path = self.folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        expected = file.pinned or self.checksums.get(file.name)
        checksum = download(file, path, expected=expected, patience=self.patience, progress=progress)
        self._note(path, checksum)
        self._confirm(file, checksum, path)
        return Fetched(path, checksum)

    def _link(self, fetched: Fetched, archive: Path) -> Fetched:
        """The archive among the downloads, linked to the user's own copy, so that all lie below one folder."""
        if fetched.path != archive:
            archive.parent.mkdir(parents=True, exist_ok=True)
            archive.unlink(missing_ok=True)
            archive.symlink_to(fetched.path)
        return Fetched(archive, fetched.checksum)

    def _confirm(self, file: RemoteFile, found: Checksum, path: Path) -> None:
        if file.pinned is None:
            self.checksums.confirm(file.name, found, str(path))
        elif found != file.pinned:
            raise DownloadError(
                f"{path}: {found.bytes} bytes of SHA-256 {found.sha256}, not {file.pinned.bytes} of "
                f"{file.pinned.sha256}; remove it, lrcr downloads it again"
            )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One run at a time; another one waits and says so."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DownloadError(f"{self.folder}: {error.strerror}; let $LRCR_DOWNLOADS name another folder") from None
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            _log.warning("%s: another run is downloading; waiting for it", self.folder)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _hash(self, path: Path) -> Checksum:
        """The checksum of a file, read anew only when its size or date have changed."""
        known = self._noted(path)
        if known is None:
            known = Checksum(path.stat().st_size, hash_file(path))
            self._note(path, known)
        return known

    def _decompressed_from(self, archive: Path) -> Checksum | None:
        """The checksum of what an archive was decompressed from; None where it is missing or was touched since."""
        return self._noted(archive) if archive.is_file() else None

    def _note_file(self, path: Path) -> Path:
        inside = path.relative_to(self.folder) if path.is_relative_to(self.folder) else path.relative_to("/")
        return self.folder / ".noted" / inside.with_name(f"{inside.name}.json")

    def _note(self, path: Path, checksum: Checksum) -> None:
        write_json(self._note_file(path), {**_stamp(path), "checksum": asdict(checksum)})

    def _noted(self, path: Path) -> Checksum | None:
        try:
            note = read_json(self._note_file(path))
            checksum = Checksum(**note.pop("checksum"))
            return checksum if note == _stamp(path) else None
        except (ArtifactError, KeyError, TypeError, AttributeError):
            return None


def _stamp(path: Path) -> dict[str, int]:
    """What changes when a file does."""
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
