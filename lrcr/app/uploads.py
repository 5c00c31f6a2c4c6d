"""Uploaded photos, which stay in memory, and their first decoding in a process of its own.

A stranger's file can make a decoder use much time or memory, or crash it. So each upload is first decoded in another
process, whose address space is bounded and which is ended after some seconds. What it accepts is decoded here, too.
"""

import hashlib
import io
import json
import multiprocessing
import resource
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import PurePosixPath
from typing import BinaryIO, Literal

from lrcr.app.limits import Limits
from lrcr.app.pictures import draw_picture
from lrcr.data.formats import open_image
from lrcr.data.images import load_image
from lrcr.errors import ImageError, LrcrError, OutOfMemoryError

PREVIEW = 1280  # pixels of the longest side of the picture that the page shows


@dataclass(frozen=True)
class Upload:
    """An uploaded photo: an `ImageFile` in memory.

    Args:
        name: the last part of the name that it had, for messages; its suffix tells formats without a signature.
        contents: of the file.
    """

    name: str
    contents: bytes

    def __str__(self) -> str:
        return self.name

    def open(self, mode: Literal["rb"]) -> BinaryIO:
        """A stream of the contents."""
        return io.BytesIO(self.contents)

    @property
    def sha256(self) -> str:
        """The hash of the contents, in hexadecimal: the id of the photo."""
        return hashlib.sha256(self.contents).hexdigest()


@dataclass(frozen=True)
class Accepted:
    """An upload that can be decoded.

    Args:
        photo: the upload.
        width: of the photo as a viewer shows it, in pixels.
        height: likewise.
        preview: a JPEG of at most 1280 pixels.
    """

    photo: Upload
    width: int
    height: int
    preview: bytes


def printable_name(given: str | None) -> str:
    """The last part of a file's name, short and printable."""
    last = PurePosixPath((given or "").replace("\\", "/")).name
    return "".join(letter for letter in last if letter.isprintable())[-80:] or "photo"


def examine(photo: Upload, pixels: int) -> tuple[int, int, bytes]:
    """Width, height and preview of a photo that can be decoded and has at most so many pixels.

    Raises:
        ImageError: it cannot be decoded, or has more.
    """
    try:
        with open_image(photo.open("rb"), PurePosixPath(photo.name).suffix.lower()) as image:
            size = image.size
    except LrcrError as error:
        raise ImageError(f"{photo}: {error}") from None
    except Exception:  # `load_image` says what is wrong
        size = (0, 0)
    if size[0] * size[1] > pixels:
        raise ImageError(f"{photo}: {size[0]} × {size[1]} pixels, beyond {pixels / 1e6:g} million; make it smaller")
    loaded = load_image(photo, orient=True, image_size=PREVIEW)
    return *loaded.full_size, draw_picture(loaded, PREVIEW)


def _serve(connection: Connection, pixels: int, memory: int) -> None:
    """Examine what comes through a connection, until it is closed."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    connection.send_bytes(b"ready")
    while True:
        try:
            name, contents = connection.recv_bytes().decode(), connection.recv_bytes()
        except EOFError:
            return
        try:
            width, height, preview = examine(Upload(name, contents), pixels)
            answer: dict[str, object] = {"width": width, "height": height}
        except OutOfMemoryError:
            answer, preview = {"error": f"{name}: takes too much memory; make it smaller"}, b""
        except LrcrError as error:
            answer, preview = {"error": str(error)}, b""
        connection.send_bytes(json.dumps(answer).encode())
        connection.send_bytes(preview)


class Examiner:
    """Decodes uploads in a process of its own, one at a time."""

    def __init__(self, limits: Limits) -> None:
        self._limits, self._lock = limits, threading.Lock()
        self._started: tuple[multiprocessing.context.SpawnProcess, Connection] | None = None

    def examine(self, photo: Upload) -> Accepted:
        """Decode a photo.

        Raises:
            ImageError: it cannot be decoded within the limits.
        """
        with self._lock:
            try:
                connection = self._connect()
                connection.send_bytes(photo.name.encode())
                connection.send_bytes(photo.contents)
                if not connection.poll(self._limits.decode_seconds):
                    self.close()
                    seconds = self._limits.decode_seconds
                    raise ImageError(f"{photo}: not decoded within {seconds:g} s; make it smaller")
                answer, preview = json.loads(connection.recv_bytes()), connection.recv_bytes()
            except (OSError, EOFError):
                self.close()
                raise ImageError(f"{photo}: damaged (its decoder crashed); copy or export it again") from None
        if "error" in answer:
            raise ImageError(answer["error"])
        return Accepted(photo, answer["width"], answer["height"], preview)

    def start(self) -> None:
        """Start the process, so that the first upload need not wait for it."""
        with self._lock:
            self._connect()

    def _connect(self) -> Connection:
        if self._started is None or not self._started[0].is_alive():
            context = multiprocessing.get_context("spawn")
            ours, theirs = context.Pipe()
            given = (theirs, self._limits.pixels, self._limits.decode_bytes)
            process = context.Process(target=_serve, args=given, daemon=True, name="lrcr uploads")
            process.start()
            theirs.close()
            self._started = process, ours
            ours.recv_bytes()  # it has started: from now on its time counts
        return self._started[1]

    def close(self) -> None:
        """End the process."""
        if self._started is not None:
            process, connection = self._started
            process.kill()
            process.join()
            connection.close()
            self._started = None
