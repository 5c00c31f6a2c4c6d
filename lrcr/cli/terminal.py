"""What the user sees: progress bars, logged warnings, and one line for each error that can be mended."""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.errors import LrcrError, ParamsError
from lrcr.progress import Item
from lrcr.runtime import distributed

BAD_INPUT = 2
_FIRST_SPEAKS = 3.0  # seconds
stderr = Console(stderr=True)


class _Rate(ProgressColumn):
    """How many items pass in a second."""

    def render(self, task: Task) -> Text:
        """The rate, once it is known."""
        return Text("" if task.speed is None else f"{task.speed:.3g}/s")


def progress.over(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Show a progress bar on standard error while the items pass."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr, refresh_per_second=2) as progress:
        task = progress.add_task(description, total=total if total is not None else _length(items))
        for item in items:
            yield item
            progress.advance(task)


def _length(items: Iterable[Item]) -> int | None:
    try:
        return len(items)  # type: ignore[arg-type]
    except TypeError:
        return None


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print an error of lrcr as its one line and exit with code 2; let a defect keep its traceback."""
    logging.basicConfig(level="WARNING", format="%(message)s", handlers=[RichHandler(console=stderr, show_path=False)])
    try:
        yield
    except LrcrError as error:
        if distributed.rank():
            time.sleep(_FIRST_SPEAKS)  # if it says the same, this process is ended before it repeats it
        stderr.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        stderr.print("interrupted; the same command continues where it stopped")
        sys.exit(130)


def run_stage(main: Callable[[Params], None], *, several: bool = False) -> None:
    """Run a stage of the pipeline on the params of `params.yaml`; `several` allows several ranks of torchrun."""
    with one_line_errors():
        if not several:
            refuse_ranks()
        main(load_params(Path("params.yaml")))


def refuse_ranks() -> None:
    """Refuse to do the same work once in each rank of torchrun."""
    if distributed.world_size() > 1:
        raise ParamsError(
            f"torchrun: {distributed.world_size()} ranks, but only stages.train can share its work; start one"
        )
