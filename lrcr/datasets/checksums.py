"""Checksums of public files without a published one: recorded at the first download, verified at each later one.

The record is a JSON file, name → bytes and SHA-256. Commit it with the project: every machine then uses the same files
or stops with an error.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from lrcr.datasets.remote import Checksum
from lrcr.errors import DownloadError
from lrcr.storage.artifacts import read_json, write_json


class Checksums:
    """The recorded checksums in the file `path`, which the first record creates."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, name: str) -> Checksum | None:
        """The checksum recorded for a file; None before its first download.

        Raises:
            DownloadError: the record is damaged.
        """
        return self._read().get(name)

    def verify(self, name: str, found: Checksum, where: str) -> None:
        """Compare the checksum of a file with its record; add the record if there is none.

        Args:
            where: name of the file in the error message.

        Raises:
            DownloadError: the checksums differ, or the record is damaged.
        """
        recorded = self._read()
        if name not in recorded:
            rows = {key: asdict(value) for key, value in sorted({**recorded, name: found}.items())}
            write_json(self.path, rows)
        elif recorded[name] != found:
            raise DownloadError(
                f"{where}: has {found.bytes} bytes and SHA-256 {found.sha256}, but {self.path} records "
                f"{recorded[name].bytes} and {recorded[name].sha256}; get the recorded file, or delete its record"
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
