"""Public files: their addresses, sizes and checksums, and how often a download is retried."""

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
        name: path below the folder of downloads or of the user's own copies.
        urls: its mirrors, in the order in which they are tried.
        max_bytes: a download of more bytes is aborted.
        pinned: its checksum, if it is part of lrcr.
        md5_url: address of a text that begins with its MD5, if one is published.
    """

    name: str
    urls: tuple[str, ...]
    max_bytes: int
    pinned: Checksum | None = None
    md5_url: str | None = None


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait for a mirror and how often to retry.

    Args:
        timeout: seconds without data after which a connection is closed.
        attempts: consecutive connections without new data after which the next mirror is tried.
        pause: seconds before the second attempt; doubled before each further one.
    """

    timeout: float = 60.0
    attempts: int = 6
    pause: float = 1.0


DEFAULT_RETRY_POLICY = RetryPolicy()
