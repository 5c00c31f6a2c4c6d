"""One connection to one mirror: what it sends is appended to the part of the file that is here.

The part lies in `<name>.part`, beside `<name>.part.json` that tells of which version of the file it is (ETag or date),
so that two versions are never joined.
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
_WORTH_ANOTHER_TRY = (408, 425, 429, 500, 502, 503, 504)
_RESERVE = 64 << 20  # bytes of the disk that a download leaves free


class MirrorError(Exception):
    """This mirror does not have the file; the next may."""


class ConnectionLostError(Exception):
    """The connection failed; another attempt may go on from there."""


def receive(url: str, file: RemoteFile, part: Path, size: int | None, timeout: float, progress: Progress) -> None:
    """Append what is missing to `part`, through one connection.

    Args:
        size: bytes the file must have, where that is known.

    Raises:
        MirrorError: the mirror does not have the file.
        ConnectionLostError: the connection failed or broke off.
        DownloadError: the disk is too small.
    """
    version = _read_version(part)
    have = size_of(part) if version else 0
    headers = {"Accept-Encoding": "identity", "User-Agent": "lrcr"}
    if version:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    try:
        response = urlopen(Request(url, headers=headers), timeout=timeout)
    except HTTPError as error:
        _judge_status(error.code, part)
    except (OSError, HTTPException) as error:
        raise ConnectionLostError(f"no connection ({_reason(error)})") from None
    else:
        with response:
            have = _continued_at(response, have)
            total = _total(response, have, file, size)
            _require_space(part.parent, (total or file.largest) - have)
            _append(response, part, have, _Length(file, total), progress)


def _judge_status(status: int, part: Path) -> None:
    if status == 416:  # what is here is no beginning of the file
        discard(part)
        raise ConnectionLostError("the part that is here does not fit the file")
    if status in _WORTH_ANOTHER_TRY:
        raise ConnectionLostError(f"status {status}")
    raise MirrorError(f"status {status}")


def _continued_at(response: HTTPResponse, have: int) -> int:
    """Where the answer begins: after what we have, or at 0 where the server sends the whole again."""
    if response.status == 200:
        return 0
    if response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        return have
    raise MirrorError(f"answers something else than asked (status {response.status})")


def _total(response: HTTPResponse, have: int, file: RemoteFile, size: int | None) -> int | None:
    """Bytes of the whole file, as known before or as the server says; None where only a checksum will tell."""
    length = response.headers.get("Content-Length", "")
    total = have + int(length) if re.fullmatch(r"[0-9]{1,18}", length) else size
    if total is None and file.md5_url is None:
        raise MirrorError("does not say how many bytes it has")
    if total is not None and size is not None and total != size:
        raise MirrorError(f"has {total} bytes, not {size}")
    if total is not None and total > file.largest:
        raise MirrorError(f"has {total} bytes, more than the {file.largest} that are allowed")
    return total


@dataclass(frozen=True)
class _Length:
    """Bytes that `file` has in `total`; None where that is not known."""

    file: RemoteFile
    total: int | None

    @property
    def most(self) -> int:
        return self.file.largest if self.total is None else self.total


def _append(response: HTTPResponse, part: Path, have: int, length: _Length, progress: Progress) -> None:
    """Write what arrives behind the first `have` bytes of `part`."""
    with _disk(part), part.open("r+b" if have else "wb") as target:
        _write_version(part, response)
        target.seek(have)
        target.truncate()
        steps = -(-length.most // _MIB) - have // _MIB
        with progress.task(f"download {length.file.name} (MiB)", steps) as task:
            for chunk in _chunks(response):
                if have + len(chunk) > length.most:
                    raise MirrorError(f"sends more than {length.most} bytes")
                target.write(chunk)
                for _ in range(have // _MIB, (have + len(chunk)) // _MIB):
                    task.advance()
                have += len(chunk)
    if length.total is not None and have < length.total:
        raise ConnectionLostError(f"broke off after {have} of {length.total} bytes")


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read1(_MIB)
        except (OSError, HTTPException) as error:
            raise ConnectionLostError(f"broke off ({_reason(error)})") from None
        if not chunk:
            return
        yield chunk


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "reason", None) or error or type(error).__name__).split())


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """Say in one line what the disk refuses; what has been written stays for the next run."""
    try:
        yield
    except OSError as error:
        remedy = "make room, or let $LRCR_DOWNLOADS name a larger disk" if error.errno == errno.ENOSPC else "mend it"
        raise DownloadError(f"{path}: cannot be written ({error.strerror}); {remedy}") from None


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _RESERVE:
        raise DownloadError(
            f"{folder}: {needed / 2**30:.1f} GiB are to come, but {free / 2**30:.1f} GiB are free; "
            "make room, or let $LRCR_DOWNLOADS name a larger disk"
        )


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def discard(part: Path) -> None:
    """Remove a part and what is said of it."""
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)


def _write_version(part: Path, response: HTTPResponse) -> None:
    tag = response.headers.get("ETag", "")
    version = tag if tag.startswith('"') else response.headers.get("Last-Modified")
    write_json(_version_file(part), {"version": version})


def _read_version(part: Path) -> str | None:
    """The version of which a part is the beginning; None where there is nothing to go on from."""
    if not size_of(part) or not _version_file(part).exists():
        return None
    try:
        version = read_json(_version_file(part))["version"]
    except (ArtifactError, KeyError, TypeError):
        return None
    return version if isinstance(version, str) and version.isascii() and version.isprintable() else None
