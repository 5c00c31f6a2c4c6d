"""Download of one public file: resumed, retried, verified, from the first mirror that has it."""

import re
import time
from pathlib import Path

from lrcr.datasets.remote import Checksum, RemoteFile, RetryPolicy
from lrcr.datasets.transfer import ConnectionLostError, MirrorError, discard, receive, size_of
from lrcr.errors import DownloadError
from lrcr.progress import SILENT, Progress
from lrcr.storage.artifacts import hash_file


def download(
    file: RemoteFile, path: Path, *, expected: Checksum | None, retry: RetryPolicy, progress: Progress = SILENT
) -> Checksum:
    """Download `file` to `path`; resume an interrupted download.

    Args:
        path: in an existing folder; created when the file is complete and verified.
        expected: its checksum, if known.

    Raises:
        DownloadError: no mirror has the expected file, or it does not fit on the disk.
    """
    reasons = []
    for url in file.urls:
        try:
            return _download_from(url, file, path, expected, retry, progress)
        except MirrorError as error:
            reasons.append(f"{url}: {error}")
    failures = "; ".join(reasons)
    raise DownloadError(
        f"{file.name}: cannot be downloaded ({failures}); try again later, or put the file into $LRCR_ARCHIVES"
    )


def _download_from(
    url: str, file: RemoteFile, path: Path, expected: Checksum | None, retry: RetryPolicy, progress: Progress
) -> Checksum:
    part = path.with_name(f"{path.name}.part")
    resumed = part.exists()
    size = expected.bytes if expected else None
    failures, furthest = 0, size_of(part)
    while True:
        try:
            receive(url, file, part, size, retry.timeout, progress)
            break
        except ConnectionLostError as error:
            failures = 1 if size_of(part) > furthest else failures + 1
            furthest = max(furthest, size_of(part))
            if failures >= retry.attempts:
                raise MirrorError(f"{error}, {failures} times in a row") from None
            time.sleep(retry.pause * 2 ** (failures - 1))
    try:
        checksum = _verify(file, part, expected, retry)
    except MirrorError:
        discard(part)
        if not resumed:
            raise
        return _download_from(url, file, path, expected, retry, progress)
    part.replace(path)
    discard(part)
    return checksum


def _verify(file: RemoteFile, part: Path, expected: Checksum | None, retry: RetryPolicy) -> Checksum:
    found = Checksum(size_of(part), hash_file(part))
    if expected is not None and found != expected:
        raise MirrorError(
            f"has {found.bytes} bytes and SHA-256 {found.sha256}, "
            f"not the expected {expected.bytes} and {expected.sha256}"
        )
    if expected is None and file.md5_url is not None:
        published = _published_md5(file, part, retry)
        if (md5 := hash_file(part, "md5")) != published:
            raise MirrorError(f"has MD5 {md5}, not the published {published}")
    return found


def _published_md5(file: RemoteFile, part: Path, retry: RetryPolicy) -> str:
    text = part.with_name(f"{part.name}.md5")
    source = RemoteFile(f"{file.name}.md5", (str(file.md5_url),), max_bytes=4096)
    download(source, text, expected=None, retry=retry)
    found = re.match(rb"\\?([0-9a-f]{32})\b", text.read_bytes())
    text.unlink()
    if found is None:
        raise DownloadError(f"{file.md5_url}: does not begin with an MD5; try again later")
    return found[1].decode()
