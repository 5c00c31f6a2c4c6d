"""Public files: where they are, what they must be, and how long one waits for them."""

from dataclasses import dataclass


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


DEFAULT_PATIENCE = Patience()
