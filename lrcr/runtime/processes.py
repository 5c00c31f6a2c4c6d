"""Jobs in this process, or in several processes of this machine.

With `LRCR_WORKERS=4` four processes run the jobs; several GPUs are assigned to them in turn. Each process has as many
threads as this one.
"""

import gc
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import Queue
from multiprocessing.sharedctypes import Synchronized

from lrcr.errors import LrcrError, ParamsError
from lrcr.progress import SILENT, Progress
from lrcr.runtime.jobs import Executor, Job, Make
from lrcr.runtime.threads import use_threads


class InProcess:
    """Runs jobs one after the other in this process."""

    def map(self, make: Make, jobs: Sequence[Job], progress: Progress) -> None:
        """See `Executor`."""
        for job in jobs:
            make(job.items, job.file, progress)


class Processes:
    """Runs jobs in several processes of this machine.

    Args:
        workers: how many.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def map(self, make: Make, jobs: Sequence[Job], progress: Progress) -> None:
        """See `Executor`."""
        import torch

        context = multiprocessing.get_context("spawn")  # CUDA does not work in a forked process
        makes = context.Queue()  # a worker takes its `make` from here after it has chosen a GPU
        makes.cancel_join_thread()
        for _ in range(self.workers):
            makes.put(make)
        start = (makes, context.Value("i", 0), os.getpid(), torch.get_num_threads(), gc.get_threshold())
        with ProcessPoolExecutor(self.workers, context, _start_worker, start) as pool:
            try:
                running = {pool.submit(_run_job, job): job for job in jobs}
                for future in as_completed(running):
                    future.result()
                    progress.advance(len(running[future].items))
            except BrokenProcessPool:
                raise LrcrError(
                    f"LRCR_WORKERS: one of {self.workers} worker processes was killed (by a user, or because memory "
                    "ran out); run the same command again to continue"
                ) from None
            finally:
                pool.shutdown(cancel_futures=True)


class ThisMachine:
    """Runs jobs in this process, or in `$LRCR_WORKERS` processes."""

    def map(self, make: Make, jobs: Sequence[Job], progress: Progress) -> None:
        """See `Executor`."""
        workers = min(worker_count(), len(jobs))
        executor: Executor = Processes(workers) if workers > 1 else InProcess()
        executor.map(make, jobs, progress)


def worker_count() -> int:
    """The number of processes that run jobs: `$LRCR_WORKERS`, 1 if it is not set.

    Raises:
        ParamsError: it is not a whole number above 0.
    """
    given = os.environ.get("LRCR_WORKERS") or "1"
    if not given.isdecimal() or int(given) < 1:
        raise ParamsError(f"LRCR_WORKERS: {given!r} is not a number of processes; give 1 or more")
    return int(given)


def end_with(parent: int) -> None:
    """End this process when its parent does: otherwise a worker whose parent was killed would wait forever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


_make: Make | LrcrError
"""In a worker process: the `make` of its jobs, or the error that unpickling it raised."""


def _start_worker(
    makes: "Queue[Make]", started: "Synchronized[int]", parent: int, threads: int, thresholds: tuple[int, int, int]
) -> None:
    import torch

    global _make
    gc.set_threshold(*thresholds)  # the import of a command raises them
    use_threads(threads)
    end_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, and `end_with` then this process
    with started:
        number, started.value = started.value, started.value + 1
    if torch.cuda.is_available():
        torch.cuda.set_device(number % torch.cuda.device_count())
    try:
        _make = makes.get()
    except LrcrError as error:
        _make = error


def _run_job(job: Job) -> None:
    if isinstance(_make, LrcrError):
        raise _make
    _make(job.items, job.file, SILENT)
