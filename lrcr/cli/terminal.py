"""Output on the terminal: progress bars, warnings, and one line for each error that the user can correct."""

import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from lrcr.cli import THRESHOLD
from lrcr.errors import LrcrError, ParamsError, ShareMade
from lrcr.progress import Progress
from lrcr.runtime.imports import quick_imports
from lrcr.runtime.threads import use_threads

if TYPE_CHECKING:
    from lrcr.config.params import Params

BAD_INPUT = 2
_WAIT_FOR_FIRST_RANK = 3.0  # seconds
_INTERRUPTED = "interrupted; the same command continues where it stopped"
stderr = Console(stderr=True)


class _Rate(ProgressColumn):
    """Items per second."""

    def render(self, task: Task) -> Text:
        """The rate, when it is known."""
        return Text("" if task.speed is None else f"{task.speed:.3g}/s")


class _Bars(Progress):
    """Shows a bar on standard error for each task."""

    @contextmanager
    def task(self, description: str, total: int | None) -> Iterator[Progress]:
        """See `Progress`."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with RichProgress(*columns, console=stderr, refresh_per_second=2) as bars:
            yield _Bar(bars, bars.add_task(description, total=total))


class _Bar(_Bars):
    """The bar of one task."""

    def __init__(self, bars: RichProgress, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def advance(self, steps: int = 1) -> None:
        """See `Progress`."""
        self._bars.advance(self._task, steps)


progress = _Bars()
"""Shows a progress bar on standard error for each task."""


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print an `LrcrError` as one line and exit with code 2; any other exception keeps its traceback."""
    gc.set_threshold(*THRESHOLD)
    logging.basicConfig(level="WARNING", format="%(message)s", handlers=[RichHandler(console=stderr, show_path=False)])
    try:
        yield
    except LrcrError as error:
        if _rank() > 0:
            time.sleep(_WAIT_FOR_FIRST_RANK)  # meanwhile rank 0 prints the error, and torchrun ends this process
        say(f"error: {error}", "red")
        sys.exit(BAD_INPUT)
    except ShareMade as made:
        say(str(made))
        sys.exit(0)
    except KeyboardInterrupt:
        say(_INTERRUPTED)
        sys.exit(130)
    except SystemExit as ended:
        if ended.code == 130:  # Typer caught the interrupt of a command
            say(_INTERRUPTED)
        raise


def say(line: str, style: str | None = None) -> None:
    """Print a line on standard error as it is: names of files can look like rich's markup."""
    stderr.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def run_stage(main: "Callable[[Params], None]", *, several: bool = False) -> None:
    """Run a stage of the pipeline with the params in `params.yaml`.

    Args:
        several: whether several ranks of torchrun may run it.
    """
    with one_line_errors():
        if not several:
            refuse_ranks()
        from lrcr.config.reading import load_params  # imports pydantic

        params = load_params(Path("params.yaml"))
        use_threads(params.threads)
        gc.freeze()  # what was imported is not searched for garbage again; at the end that would take up to a second
        main(params)


def import_torch() -> None:
    """Import torch; it is not searched for garbage again, neither by further imports nor at the end.

    A search takes a sixth less time so. timm must be imported later: triton reports what was never collected.
    """
    with quick_imports():
        import torch  # noqa: F401
    gc.freeze()


def refuse_ranks() -> None:
    """Refuse several ranks of torchrun, which would all do the same work.

    Raises:
        ParamsError: there are several.
    """
    if _in_torchrun():
        from lrcr.runtime import distributed

        if (ranks := distributed.world_size()) > 1:
            raise ParamsError(f"torchrun: {ranks} ranks, but only stages.train can use several; start one process")


def _rank() -> int:
    if not _in_torchrun():
        return 0
    from lrcr.runtime import distributed

    return distributed.rank()


def _in_torchrun() -> bool:
    """Whether torchrun started this process: without it, the question costs no import of torch."""
    return "TORCHELASTIC_RUN_ID" in os.environ
