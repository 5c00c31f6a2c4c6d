"""The checksums of public files whose publishers tell none: recorded at the first download, compared ever after.

They lie in a JSON file, name → bytes and SHA-256, that is committed with the project, so that every machine and every
later year sees the same files, or an error.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from lrcr.datasets.remote import Checksum
from lrcr.errors import DownloadError
from lrcr.storage.artifacts import read_json, write_json


class Checksums:
    """The recorded checksums in `path`, a file that need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, name: str) -> Checksum | None:
        """What is recorded for a file, None before its first download.

        Raises:
            DownloadError: the record is damaged.
        """
        return self._read().get(name)

    def confirm(self, name: str, found: Checksum, where: str) -> None:
        """Compare a file with its record; record it where there is none.

        Args:
            where: what to call the file in the message.

        Raises:
            DownloadError: it is another file than the recorded one, or the record is damaged.
        """
        known = self._read()
        if name not in known:
            rows = {key: asdict(value) for key, value in sorted({**known, name: found}.items())}
            write_json(self.path, rows)
        elif known[name] != found:
            raise DownloadError(
                f"{where}: {found.bytes} bytes of SHA-256 {found.sha256}, but {self.path} records "
                f"{known[name].bytes} of {known[name].sha256}; get the recorded file, or delete its record"
            )

    def _read(self) -> dict[str, Checksum]:
        rows: Any = read_json(self.path) if self.path.exists() else {}
        try:
            return {str(name): _checksum(row) for name, row in rows.items()}
        except (AttributeError, KeyError, TypeError):
            raise DownloadError(f"{self.path}: not a record of checksums; restore it from version control") from None


def _checksum(row: dict[str, Any]) -> Checksum:
    size, digest = row["bytes"], row["sha256"]
    if not (isinstance(size, int) and isinstance(digest, str)):
        raise TypeError
    return Checksum(size, digest)
