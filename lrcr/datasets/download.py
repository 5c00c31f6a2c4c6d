"""One public file from the web onto the disk: resumed, retried, from the first mirror that has it.

What has arrived waits in `<name>.part`, beside `<name>.part.json` that tells of which version of the file it is (ETag
or date), so that a later run goes on where this one stopped and never joins two versions.
"""

import errno
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from lrcr.artifacts import hash_file, read_json, write_json
from lrcr.errors import ArtifactError, DownloadError
from lrcr.progress import Track, silent, ticking

_MIB = 1 << 20
_WORTH_ANOTHER_TRY = (408, 425, 429, 500, 502, 503, 504)
_RESERVE = 64 << 20  # bytes of the disk that a download leaves free


@dataclass(frozen=True)
class Checksum:
    """What identifies a file's contents: its size in bytes and its SHA-256 in hexadecimal."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class RemoteFile:
    """A public file.

    Args:
        name: where it lies below the folder of downloads or of the user's own archives.
        urls: its mirrors, in the order in which they are asked.
        largest: more bytes than it can have; what goes on beyond is broken off.
        pinned: its checksum, where lrcr knows it beforehand.
        md5_url: a text that begins with its MD5, where upstream publishes one.
    """

    name: str
    urls: tuple[str, ...]
    largest: int
    pinned: Checksum | None = None
    md5_url: str | None = None


@dataclass(frozen=True)
class Patience:
    """How long a mirror is waited for.

    Args:
        timeout: seconds without a byte after which a connection is given up.
        attempts: connections in a row that bring nothing new before the next mirror is asked.
        pause: seconds before the second attempt; doubled before each further one.
    """

    timeout: float = 60.0
    attempts: int = 6
    pause: float = 1.0


class _MirrorError(Exception):
    """This mirror does not have the file; the next may."""


class _ConnectionLostError(Exception):
    """The connection failed; another attempt may go on from there."""


DEFAULT_PATIENCE = Patience()


def download(
    file: RemoteFile, path: Path, *, expected: Checksum | None, patience: Patience, track: Track = silent
) -> Checksum:
    """Download `file` to `path`, going on from what an earlier run left.

    Args:
        path: in an existing folder; appears when it is complete and checked.
        expected: what it must be, where that is known.

    Raises:
        DownloadError: no mirror has the file as expected, or it does not fit on the disk.
    """
    reasons = []
    for url in file.urls:
        try:
            return _download_from(url, file, path, expected, patience, track)
        except _MirrorError as error:
            reasons.append(f"{url}: {error}")
    tried = "; ".join(reasons)
    raise DownloadError(f"{file.name}: cannot be downloaded ({tried}); try later, or put the file into $LRCR_ARCHIVES")


def _download_from(
    url: str, file: RemoteFile, path: Path, expected: Checksum | None, patience: Patience, track: Track
) -> Checksum:
    part = path.with_name(f"{path.name}.part")
    began_before = part.exists()
    size = expected.bytes if expected else None
    failures, furthest = 0, _size(part)
    while True:
        try:
            _receive(url, file, part, size, patience.timeout, track)
            break
        except _ConnectionLostError as error:
            failures = 1 if _size(part) > furthest else failures + 1
            furthest = max(furthest, _size(part))
            if failures >= patience.attempts:
                raise _MirrorError(f"{error}, {failures} times in a row") from None
            time.sleep(patience.pause * 2 ** (failures - 1))
    try:
        checksum = _check(file, part, expected, patience)
    except _MirrorError:
        _discard(part)
        if not began_before:
            raise
        return _download_from(url, file, path, expected, patience, track)
    part.replace(path)
    _discard(part)
    return checksum


def _check(file: RemoteFile, part: Path, expected: Checksum | None, patience: Patience) -> Checksum:
    found = Checksum(_size(part), hash_file(part))
    if expected is not None and found != expected:
        raise _MirrorError(
            f"holds other contents: {found.bytes} bytes of SHA-256 {found.sha256}, "
            f"not {expected.bytes} of {expected.sha256}"
        )
    if expected is None and file.md5_url is not None:
        published = _published_md5(file, part, patience)
        if hash_file(part, "md5") != published:
            raise _MirrorError(f"holds other contents than the published MD5 {published} tells")
    return found


def _published_md5(file: RemoteFile, part: Path, patience: Patience) -> str:
    text = part.with_name(f"{part.name}.md5")
    source = RemoteFile(f"{file.name}.md5", (str(file.md5_url),), largest=4096)
    download(source, text, expected=None, patience=patience)
    found = re.match(rb"\\?([0-9a-f]{32})\b", text.read_bytes())
    text.unlink()
    if found is None:
        raise DownloadError(f"{file.md5_url}: does not begin with an MD5; try later")
    return found[1].decode()


def _receive(url: str, file: RemoteFile, part: Path, size: int | None, timeout: float, track: Track) -> None:
    """Append what is missing to `part`, through one connection."""
    version = _read_version(part)
    have = _size(part) if version else 0
    headers = {"Accept-Encoding": "identity", "User-Agent": "lrcr"}
    if version:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    try:
        response = urlopen(Request(url, headers=headers), timeout=timeout)
    except HTTPError as error:
        _judge_status(error.code, part)
    except (OSError, HTTPException) as error:
        raise _ConnectionLostError(f"no connection ({_reason(error)})") from None
    else:
        with response:
            have = _continued_at(response, have)
            total = _total(response, have, file, size)
            _require_space(part.parent, (total or file.largest) - have)
            _append(response, part, have, _Length(file, total), track)


def _judge_status(status: int, part: Path) -> None:
    if status == 416:  # what is here is no beginning of the file
        _discard(part)
        raise _ConnectionLostError("the part that is here does not fit the file")
    if status in _WORTH_ANOTHER_TRY:
        raise _ConnectionLostError(f"status {status}")
    raise _MirrorError(f"status {status}")


def _continued_at(response: HTTPResponse, have: int) -> int:
    """Where the answer begins: after what we have, or at 0 where the server sends the whole again."""
    if response.status == 200:
        return 0
    if response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        return have
    raise _MirrorError(f"answers something else than asked (status {response.status})")


def _total(response: HTTPResponse, have: int, file: RemoteFile, size: int | None) -> int | None:
    """Bytes of the whole file, as known before or as the server says; None where only a checksum will tell."""
    length = response.headers.get("Content-Length", "")
    total = have + int(length) if re.fullmatch(r"[0-9]{1,18}", length) else size
    if total is None and file.md5_url is None:
        raise _MirrorError("does not say how many bytes it has")
    if total is not None and size is not None and total != size:
        raise _MirrorError(f"has {total} bytes, not {size}")
    if total is not None and total > file.largest:
        raise _MirrorError(f"has {total} bytes, more than the {file.largest} that are allowed")
    return total


@dataclass(frozen=True)
class _Length:
    """Bytes that `file` has in `total`; None where that is not known."""

    file: RemoteFile
    total: int | None

    @property
    def most(self) -> int:
        return self.file.largest if self.total is None else self.total


def _append(response: HTTPResponse, part: Path, have: int, length: _Length, track: Track) -> None:
    """Write what arrives behind the first `have` bytes of `part`."""
    with _disk(part), part.open("r+b" if have else "wb") as target:
        _write_version(part, response)
        target.seek(have)
        target.truncate()
        steps = -(-length.most // _MIB) - have // _MIB
        with ticking(track, f"download {length.file.name} (MiB)", steps) as tick:
            for chunk in _chunks(response):
                if have + len(chunk) > length.most:
                    raise _MirrorError(f"sends more than {length.most} bytes")
                target.write(chunk)
                for _ in range(have // _MIB, (have + len(chunk)) // _MIB):
                    tick()
                have += len(chunk)
    if length.total is not None and have < length.total:
        raise _ConnectionLostError(f"broke off after {have} of {length.total} bytes")


def _chunks(response: HTTPResponse) -> Iterator[bytes]:
    while True:
        try:
            chunk = response.read1(_MIB)
        except (OSError, HTTPException) as error:
            raise _ConnectionLostError(f"broke off ({_reason(error)})") from None
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


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _version_file(part).unlink(missing_ok=True)


def _write_version(part: Path, response: HTTPResponse) -> None:
    tag = response.headers.get("ETag", "")
    version = tag if tag.startswith('"') else response.headers.get("Last-Modified")
    write_json(_version_file(part), {"version": version})


def _read_version(part: Path) -> str | None:
    """The version of which a part is the beginning; None where there is nothing to go on from."""
    if not _size(part) or not _version_file(part).exists():
        return None
    try:
        version = read_json(_version_file(part))["version"]
    except (ArtifactError, KeyError, TypeError):
        return None
    return version if isinstance(version, str) and version.isascii() and version.isprintable() else None
