"""One connection to one mirror, which appends the received bytes to a partial download.

The partial download is `<name>.part`. `<name>.part.json` beside it holds the version of the file (ETag or date), so
that parts of two versions are never joined.
"""

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from lrcr.datasets.remote import RemoteFile
from lrcr.errors import ArtifactError, DownloadError
from lrcr.progress import Progress
from lrcr.storage.artifacts import read_json, write_json

_MIB = 1 << 20
_FREE_SPACE = "free some space, or set $LRCR_DOWNLOADS to a folder on a larger disk"
_RETRIED_STATUSES = (408, 425, 429, 500, 502, 503, 504)
_RESERVE = 64 << 20  # bytes of the disk that a download keeps free


class MirrorError(Exception):
    """This mirror does not have the expected file; another mirror may have it."""


class ConnectionLostError(Exception):
    """The connection failed; another attempt can resume the download."""


def receive(url: str, file: RemoteFile, part: Path, size: int | None, timeout: float, progress: Progress) -> None:
    """Append the missing bytes to `part`, through one connection.

    Args:
        size: expected bytes of the whole file, if known.
        timeout: seconds without data after which the connection is closed.

    Raises:
        MirrorError: the mirror does not have the file.
        ConnectionLostError: the connection failed or was interrupted.
        DownloadError: the disk is full or cannot be written.
    """
    version = _read_version(part)
    received = size_of(part) if version else 0
    headers = {"Accept-Encoding": "identity", "User-Agent": "lrcr"}
    if version:
        headers |= {"Range": f"bytes={received}-", "If-Range": version}
    try:
        response = urlopen(Request(url, headers=headers), timeout=timeout)
    except HTTPError as error:
        if error.code == 416 and received and error.headers.get("Content-Range") == f"bytes */{received}":
            return  # it was complete already
        _raise_for_status(error.code, part)
    except (OSError, HTTPException) as error:
        raise ConnectionLostError(f"no connection ({_reason(error)})") from None
    else:
        with response:
            start = _start_of(response, received)
            total = _total_bytes(response, start, file, size)
            _require_space(part.parent, (total or file.max_bytes) - start)
            _append(response, part, start, _Length(file, total), progress)


def _raise_for_status(status: int, part: Path) -> None:
    if status == 416:  # the part is longer than the file, so it is not a part of this file
        discard(part)
        raise ConnectionLostError("the partial download does not fit the file")
    if status in _RETRIED_STATUSES:
        raise ConnectionLostError(f"status {status}")
    raise MirrorError(f"status {status}")


def _start_of(response: HTTPResponse, received: int) -> int:
    """Offset of the response in the file: `received`, or 0 if the server sends the whole file."""
    if response.status == 200:
        return 0
    if response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {received}-"):
        return received
    raise MirrorError(f"sends another range than requested (status {response.status})")


def _total_bytes(response: HTTPResponse, start: int, file: RemoteFile, size: int | None) -> int | None:
    """Bytes of the whole file, from the server or else `size`; None only if the file has a published MD5."""
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if re.fullmatch(r"[0-9]{1,18}", length) else size
    if total is None and file.md5_url is None:
        raise MirrorError("does not state the size of the file")
    if total is not None and size is not None and total != size:
        raise MirrorError(f"has {total} bytes, not the expected {size}")
    if total is not None and total > file.max_bytes:
        raise MirrorError(f"has {total} bytes, more than the limit of {file.max_bytes}")
    return total


@dataclass(frozen=True)
class _Length:
    """The size of `file`: `total` bytes, None if unknown."""

    file: RemoteFile
    total: int | None

    @property
    def max_bytes(self) -> int:
        return self.file.max_bytes if self.total is None else self.total


def _append(response: HTTPResponse, part: Path, start: int, length: _Length, progress: Progress) -> None:
    """Write the response to `part` from the offset `start`."""
    with _explain_disk_errors(part), part.open("r+b" if start else "wb") as target:
        _write_version(part, response)
        target.seek(start)
        target.truncate()
        end = start
        steps = -(-length.max_bytes // _MIB) - start // _MIB
        with progress.task(f"download {length.file.name} (MiB)", steps) as task:
            for chunk in _chunks(response):
                if end + len(chunk) > length.max_bytes:
                    raise MirrorError(f"sends more than {length.max_bytes} bytes")
                target.write(chunk)
                task.advance((end + len(chunk)) // _MIB - end // _MIB)
                end += len(chunk)
    if length.total is not None and end < length.total:
        raise ConnectionLostError(f"interrupted after {end} of {length.total} bytes")


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read1(_MIB)
        except (OSError, HTTPException) as error:
            raise ConnectionLostError(f"interrupted ({_reason(error)})") from None
        if not chunk:
            return
        yield chunk


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "reason", None) or error or type(error).__name__).split())


@contextmanager
def _explain_disk_errors(path: Path) -> Iterator[None]:
    """Turn an error of the disk into a DownloadError; the bytes already written stay for the next run."""
    try:
        yield
    except OSError as error:
        remedy = _FREE_SPACE if error.errno == errno.ENOSPC else "check the disk and the permissions of the folder"
        raise DownloadError(f"{path}: cannot be written ({error.strerror}); {remedy}") from None


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _RESERVE:
        raise DownloadError(
            f"{folder}: the download needs {needed / 2**30:.1f} GiB, but {free / 2**30:.1f} GiB are free; {_FREE_SPACE}"
        )


def size_of(path: Path) -> int:
    """Bytes of a file; 0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def discard(part: Path) -> None:
    """Remove a partial download and the record of its version."""
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)


def _write_version(part: Path, response: HTTPResponse) -> None:
    tag = response.headers.get("ETag", "")
    version = tag if tag.startswith('"') else response.headers.get("Last-Modified")
    write_json(_version_file(part), {"version": version})


def _read_version(part: Path) -> str | None:
    """The version of the file of which `part` is a part; None if there is nothing to resume."""
    if not size_of(part) or not _version_file(part).exists():
        return None
    try:
        version = read_json(_version_file(part))["version"]
    except (ArtifactError, KeyError, TypeError):
        return None
    return version if isinstance(version, str) and version.isascii() and version.isprintable() else None
