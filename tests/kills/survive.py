"""Killing functions at random moments, and comparing how they end with how they end undisturbed."""

import contextlib
import hashlib
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

KILLS = int(os.environ.get("LRCR_KILLS", "2"))
"""How often each function is killed; `make faults` asks for more."""


class Forker:
    """Runs functions in child processes (`forker.py` beside this file)."""

    def __init__(self) -> None:
        command = [sys.executable, str(Path(__file__).with_name("forker.py"))]
        folders = os.pathsep.join(str(folder) for folder in Path(__file__).parents[1:3])  # of the tests and of lrcr
        given = {"PYTHONPATH": folders, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}
        environment = {**os.environ, **given, "OMP_WAIT_POLICY": "passive"}  # other tests use the cores too
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    def run(
        self, function: Callable[..., object], arguments: tuple, state: Path, kill_after: float | None, threads: int
    ) -> bool:
        """Run a function; kill it after so many seconds. Returns whether it came to its end."""
        environment = {"LRCR_STATE": str(state), "LRCR_THREADS": str(threads)}
        self.process.stdin.write(pickle.dumps((function, arguments, environment)))
        self.process.stdin.flush()
        child = int(self.process.stdout.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        status = int(self.process.stdout.readline())
        _wait_for_the_end_of(child)
        assert status in (0, signal.SIGKILL), "the function failed; its traceback stands above"
        return status == 0

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


@contextlib.contextmanager
def forking() -> Iterator[Forker]:
    forker = Forker()
    try:
        yield forker
    finally:
        forker.close()


@dataclass(frozen=True)
class Survived:
    """How often a function was killed, and in how many of these it was in the midst of its work."""

    kills: int
    midway: int


def survive(
    forker: Forker,
    function: Callable[..., object],
    arguments: Callable[[Path], tuple],
    folder: Path,
    seed: str,
    threads: int = 1,
) -> Survived:
    """Kill a function `KILLS` times, let it end each time, and compare every file with those of an undisturbed run.

    Args:
        arguments: of the function, whose products all lie in the folder that it is given.
        folder: an empty one.
    """
    rng = random.Random(seed)
    forker.run(function, arguments(make(folder / "warm")), make(folder / "warm-state"), None, threads)
    start = time.perf_counter()
    forker.run(function, arguments(make(folder / "sound")), make(folder / "sound-state"), None, threads)
    seconds = time.perf_counter() - start
    expected = contents(folder / "sound")
    assert expected, "the function made nothing"
    midway = 0
    for number in range(KILLS):
        work, state = make(folder / f"work-{number}"), make(folder / f"state-{number}")
        midway += not forker.run(function, arguments(work), state, rng.uniform(0, seconds), threads)
        forker.run(function, arguments(work), state, None, threads)
        assert contents(work) == expected, f"kill {number} changed the result"
        assert not list(state.iterdir()), f"kill {number} left unfinished work"
        shutil.rmtree(work)
    return Survived(KILLS, midway)


def _wait_for_the_end_of(session: int) -> None:
    """Wait until every process that a function has started is gone.

    Raises:
        AssertionError: some are still there after a minute.
    """
    for _ in range(600):
        left = [process.name for process in Path("/proc").glob("[0-9]*") if _session(process) == session]
        if not left:
            return
        time.sleep(0.1)
    raise AssertionError(f"processes {left} outlive the function")


def _session(process: Path) -> int:
    try:
        state, _, _, session = (process / "stat").read_text().rpartition(")")[2].split()[:4]
    except OSError:
        return 0
    return 0 if state == "Z" else int(session)


def make(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def contents(folder: Path) -> dict[str, str]:
    """The hash of every file below a folder, hidden and temporary ones too; what tells a file's date apart."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    files = [file for file in files if ".noted" not in file.parts and file.name != ".lock"]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
