"""Photos turned into files, shard by shard: what a killed run has finished the next one finds.

`LRCR_WORKERS=4` lets four processes of one machine share the shards, each with the next GPU where there are several.
A shard's bytes depend on its own photos alone, so it does not matter who made it.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import Queue
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import torch

from lrcr.errors import LrcrError
from lrcr.progress import Progress
from lrcr.runtime.workers import end_with, worker_count

Make = Callable[[Sequence[Any], Path, Tick], None]
"""Turns some of the items into a file, whole or not at all, and ticks once for each. It can be pickled."""


def make_shards(
    make: Make, items: Sequence[Any], size: int, folder: Path, suffix: str, progress: Progress, description: str
) -> list[Path]:
    """Make those of the files `shard-<number>` that the folder lacks.

    Args:
        items: photos, and what else `make` wants to know of each; they can be pickled.
        size: items of a shard; the last one may have fewer.
        suffix: of the files' names.

    Returns:
        All files, in order.

    Raises:
        LrcrError: of `make`, or a worker was killed.
    """
    starts = range(0, len(items), size)
    files = [folder / f"shard-{number:05}{suffix}" for number in range(len(starts))]
    with progress.task(description, len(items)) as task:
        todo = []
        for start, file in zip(starts, files, strict=True):
            own = items[start : start + size]
            if file.exists():
                _tick(tick, len(own))
            else:
                todo.append((own, file))
        workers = min(worker_count(), len(todo))
        if workers > 1:
            _share_out(make, todo, workers, tick)
        else:
            for own, file in todo:
                make(own, file, tick)
    return files


def _tick(progress: Progress, times: int) -> None:
    for _ in range(times):
        task.advance()


def _share_out(make: Make, todo: Sequence[tuple[Sequence[Any], Path]], workers: int, progress: Progress) -> None:
    context = multiprocessing.get_context("spawn")  # what is forked cannot use CUDA
    makes = context.Queue()  # from which a worker takes its own once it has a GPU
    makes.cancel_join_thread()
    for _ in range(workers):
        makes.put(make)
    begin = (makes, context.Value("i", 0), os.getpid())
    with ProcessPoolExecutor(workers, context, _begin, begin) as pool:
        try:
            shards = {pool.submit(_work, own, file): len(own) for own, file in todo}
            for shard in as_completed(shards):
                shard.result()
                _tick(tick, shards[shard])
        except BrokenProcessPool:
            raise LrcrError(
                f"LRCR_WORKERS: one of {workers} was killed (by you, or for want of memory); the same command continues"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


_make: Make | LrcrError
"""What this process, a worker, makes shards by, or why it cannot."""


def _begin(makes: "Queue[Make]", begun: "Synchronized[int]", parent: int) -> None:
    global _make
    end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, and thereby this
    with begun:
        number, begun.value = begun.value, begun.value + 1
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())
    try:
        _make = makes.get()
    except LrcrError as error:
        _make = error


def _work(items: Sequence[Any], file: Path) -> None:
    if isinstance(_make, LrcrError):
        raise _make
    _make(items, file, no_tick)
