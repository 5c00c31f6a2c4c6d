"""One public file from the web onto the disk: resumed, retried, checked, from the first mirror that has it."""

import re
import time
from pathlib import Path

from lrcr.datasets.remote import Checksum, Patience, RemoteFile
from lrcr.datasets.transfer import ConnectionLostError, MirrorError, discard, receive, size_of
from lrcr.errors import DownloadError
from lrcr.progress import SILENT, Progress
from lrcr.storage.artifacts import hash_file


def download(
    file: RemoteFile, path: Path, *, expected: Checksum | None, patience: Patience, progress: Progress = SILENT
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
            return _download_from(url, file, path, expected, patience, progress)
        except MirrorError as error:
            reasons.append(f"{url}: {error}")
    tried = "; ".join(reasons)
    raise DownloadError(f"{file.name}: cannot be downloaded ({tried}); try later, or put the file into $LRCR_ARCHIVES")


def _download_from(
    url: str, file: RemoteFile, path: Path, expected: Checksum | None, patience: Patience, progress: Progress
) -> Checksum:
    part = path.with_name(f"{path.name}.part")
    began_before = part.exists()
    size = expected.bytes if expected else None
    failures, furthest = 0, size_of(part)
    while True:
        try:
            receive(url, file, part, size, patience.timeout, progress)
            break
        except ConnectionLostError as error:
            failures = 1 if size_of(part) > furthest else failures + 1
            furthest = max(furthest, size_of(part))
            if failures >= patience.attempts:
                raise MirrorError(f"{error}, {failures} times in a row") from None
            time.sleep(patience.pause * 2 ** (failures - 1))
    try:
        checksum = _check(file, part, expected, patience)
    except MirrorError:
        discard(part)
        if not began_before:
            raise
        return _download_from(url, file, path, expected, patience, progress)
    part.replace(path)
    discard(part)
    return checksum


def _check(file: RemoteFile, part: Path, expected: Checksum | None, patience: Patience) -> Checksum:
    found = Checksum(size_of(part), hash_file(part))
    if expected is not None and found != expected:
        raise MirrorError(
            f"holds other contents: {found.bytes} bytes of SHA-256 {found.sha256}, "
            f"not {expected.bytes} of {expected.sha256}"
        )
    if expected is None and file.md5_url is not None:
        published = _published_md5(file, part, patience)
        if hash_file(part, "md5") != published:
            raise MirrorError(f"holds other contents than the published MD5 {published} tells")
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
