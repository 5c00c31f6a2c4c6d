"""What the user sees: progress bars, logged warnings, and one line for each error that can be mended."""

import logging
import sys
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

from lrcr.errors import LrcrError
from lrcr.params import Params, load_params
from lrcr.progress import Item

BAD_INPUT = 2
stderr = Console(stderr=True)


class _Rate(ProgressColumn):
    """How many items pass in a second."""

    def render(self, task: Task) -> Text:
        """The rate, once it is known."""
        return Text("" if task.speed is None else f"{task.speed:.3g}/s")


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
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
        stderr.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(BAD_INPUT)
    except KeyboardInterrupt:
        stderr.print("interrupted; the same command continues where it stopped")
        sys.exit(130)


def run_stage(main: Callable[[Params], None]) -> None:
    """Run a stage of the pipeline on the params of `params.yaml`."""
    with one_line_errors():
        main(load_params(Path("params.yaml")))
