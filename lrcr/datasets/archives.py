"""Tar archives from the web: images are read inside them by offset; nothing is extracted.

The list of an archive's members holds only names, offsets and sizes, so no path, link or device of an archive is ever
created. An archive that holds anything but plain files and folders, or a member that ends beyond the archive, is
refused. Formats: ustar, GNU (long names) and pax.
"""

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from lrcr.errors import DatasetError
from lrcr.progress import SILENT, Progress
from lrcr.storage.artifacts import staged_file

_BLOCK = 512
_MAX_HEADER = 1 << 16  # bytes of a long name or of pax records
_MIB = 1 << 20
_MAX_RATIO = 10  # of sizes before and after compression; photos hardly compress


@dataclass(frozen=True)
class Member:
    """A plain file in an archive: its `bytes` bytes start at `offset`."""

    name: str
    offset: int
    bytes: int


@dataclass(frozen=True)
class _Header:
    """One header block: of a member, or of an extended header (long name, pax records) for the next member."""

    name: bytes
    size: int
    kind: bytes


def list_members(path: Path) -> list[Member]:
    """List the plain files of an uncompressed tar archive, in the order of the archive.

    Raises:
        DatasetError: it is damaged or truncated, or holds a link, a device, an absolute path or a path with `..`.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            return list(_walk(file, size))
        except _ArchiveError as error:
            raise DatasetError(f"{path}: {error}; download it again") from None


class _ArchiveError(Exception):
    """The reason why an archive is refused."""


def _walk(file: BinaryIO, end: int) -> Iterator[Member]:
    long_name: bytes | None = None
    long_size: int | None = None
    while (header := _read_header(file)) is not None:
        size = header.size if long_size is None else long_size
        start = file.tell()
        if start + size > end:
            raise _ArchiveError(f"the member at byte {start} has {size} bytes, but the archive ends before its end")
        if header.kind in (b"L", b"x", b"g"):
            contents = _read_extended_header(file, size, start)
            if header.kind == b"L":
                long_name = contents.rstrip(b"\0")
            elif header.kind == b"x":
                records = _pax_records(contents, start)
                long_name = records.get(b"path", long_name)
                long_size = _decimal(records[b"size"], start) if b"size" in records else None
        else:
            name = _safe_name(header.name if long_name is None else long_name)
            if header.kind in (b"0", b"\0"):
                yield Member(name, start, size)
            elif header.kind != b"5":
                raise _ArchiveError(f"{name!r} is neither a file nor a folder (type {header.kind!r})")
            long_name = long_size = None
        file.seek(start + -(-size // _BLOCK) * _BLOCK)


def _read_extended_header(file: BinaryIO, size: int, start: int) -> bytes:
    if size > _MAX_HEADER:
        raise _ArchiveError(f"the header at byte {start} is {size} bytes long")
    return file.read(size)


def _read_header(file: BinaryIO) -> _Header | None:
    """Read the header at the file's position; None at the end of the archive."""
    block = file.read(_BLOCK)
    if not block.strip(b"\0"):
        return None
    start = file.tell() - len(block)
    if len(block) < _BLOCK:
        raise _ArchiveError(f"truncated at byte {start}")
    if sum(block[:148]) + sum(block[156:]) + 8 * ord(" ") != _octal(block[148:156], start):
        raise _ArchiveError(f"not a tar header at byte {start}")
    name = block[:100].split(b"\0")[0]
    if block[257:263] == b"ustar\0" and block[345]:
        name = block[345:500].split(b"\0")[0] + b"/" + name
    return _Header(name, _octal(block[124:136], start), block[156:157])


def _octal(field: bytes, start: int) -> int:
    if field[0] == 0x80:  # large numbers are stored in base 256
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0")[0].strip()
    if not re.fullmatch(rb"[0-7]*", digits):
        raise _ArchiveError(f"not a tar header at byte {start}")
    return int(digits or b"0", 8)


def _decimal(digits: bytes, start: int) -> int:
    if not re.fullmatch(rb"[0-9]{1,18}", digits):
        raise _ArchiveError(f"the pax header at byte {start} is damaged")
    return int(digits)


def _pax_records(text: bytes, start: int) -> dict[bytes, bytes]:
    """Parse records `length key=value\\n`; the length is that of the whole record."""
    records: dict[bytes, bytes] = {}
    while text:
        length = _decimal(text.split(b" ", 1)[0], start)
        record, text = text[:length], text[max(length, 1) :]
        key, sign, value = record.partition(b" ")[2].partition(b"=")
        if not sign or not value.endswith(b"\n"):
            raise _ArchiveError(f"the pax header at byte {start} is damaged")
        if key.startswith(b"GNU.sparse"):
            raise _ArchiveError(f"the member after byte {start} is sparse, not a plain file")
        records[key] = value[:-1]
    return records


def _safe_name(name: bytes) -> str:
    try:
        text = name.decode()
    except UnicodeDecodeError:
        raise _ArchiveError(f"the name {name!r} is not UTF-8") from None
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or not text.isprintable():
        raise _ArchiveError(f"the name {text!r} is absolute, contains '..' or is not printable")
    return str(path)


def decompress(source: Path, target: Path, progress: Progress = SILENT) -> None:
    """Decompress a gzip file, atomically.

    Raises:
        DatasetError: it is not a complete gzip file, or is more than ten times larger without compression.
    """
    compressed = source.stat().st_size
    max_bytes = _MAX_RATIO * compressed + _MIB
    with (
        staged_file(target) as temporary,
        gzip.open(source) as packed,
        temporary.open("wb") as file,
        progress.task(f"decompress {source.name} (MiB)", -(-compressed // _MIB)) as task,
    ):
        try:
            while chunk := packed.read(_MIB):
                if file.tell() + len(chunk) > max_bytes:
                    raise DatasetError(
                        f"{source}: its {compressed} bytes decompress to more than {max_bytes}; download it again"
                    )
                file.write(chunk)
                task.advance()
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DatasetError(f"{source}: not a complete gzip file ({error}); download it again") from None
