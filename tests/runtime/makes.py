"""Makes that are cheap, in a module that worker processes can import."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from lrcr.errors import ImageError, WeightsError


def write_items(items, file: Path, progress) -> None:
    """A line for each item."""
    file.write_text("".join(f"{item}\n" for item in items))
    progress.advance(len(items))


def note_process(items, file: Path, progress) -> None:
    """The id of the process that makes the file."""
    file.write_text(str(os.getpid()))
    progress.advance(len(items))


def refuse_photo(items, file: Path, progress) -> None:
    raise ImageError(f"{items[0]}.png: not an image; replace it")


@dataclass(frozen=True)
class KilledOnce:
    """`write_items` in a process that is killed at item 5, until the file `marker` exists."""

    marker: Path

    def __call__(self, items, file: Path, progress) -> None:
        if 5 in items and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        write_items(items, file, progress)


class CannotBeOpened:
    """Pickles well; refuses to be made again in another process."""

    def __init__(self, opened: bool = False) -> None:
        if opened:
            raise WeightsError("lost.pt: no such file; train a model first")

    def __reduce__(self):
        return CannotBeOpened, (True,)

    def __call__(self, items, file: Path, progress) -> None:
        raise AssertionError("nothing to run")
