"""Makes for worker processes, which import this module."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from lrcr.errors import ImageError, WeightsError


def write_items(items, file: Path, progress) -> None:
    """A line for each item."""
    file.write_text("".join(f"{item}\n" for item in items))


def write_slowly(items, file: Path, progress) -> None:
    """As `write_items`, in half a second."""
    time.sleep(0.5)
    write_items(items, file, progress)


@dataclass(frozen=True)
class NoteWorker:
    """Writes which node works, where, and with how many threads and GPUs, when three nodes are at work."""

    met: Path

    def __call__(self, items, file: Path, progress) -> None:
        import ray

        node, gpus = ray.get_runtime_context().get_node_id(), os.environ["CUDA_VISIBLE_DEVICES"]
        (self.met / node).touch()
        end = time.monotonic() + 200
        while len(list(self.met.iterdir())) < 3 and time.monotonic() < end:
            time.sleep(0.1)
        file.write_text(f"{node} {Path.cwd()} {os.environ['OMP_NUM_THREADS']} {gpus!r}")


def refuse_photo(items, file: Path, progress) -> None:
    raise ImageError(f"{items[0]}.png: not an image; replace it")


@dataclass(frozen=True)
class Killed:
    """`write_items` in a worker that is killed at item 5, so many times."""

    marker: Path
    times: int

    def __call__(self, items, file: Path, progress) -> None:
        if 5 in items and (before := len(list(self.marker.iterdir()))) < self.times:
            (self.marker / str(before)).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        write_items(items, file, progress)


class CannotBeOpened:
    """Pickles well; refuses to be made again in another process."""

    def __init__(self, opened: bool = False) -> None:
        if opened:
            raise WeightsError("lost.pt: no such file; train a model first")

    def __reduce__(self):
        return CannotBeOpened, (True,)
