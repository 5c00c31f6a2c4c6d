"""Jobs on all nodes of a Ray cluster (extra `lrcr[ray]`). The driver is the process that `map` runs in.

All workers compute as the driver would: on GPUs if it has one, else on CPUs with as many threads; so its files are the
same. A worker has one job at a time, so the driver holds no more than one for each, and no results: the file is the
result. A worker writes it under a name of its own and renames it, so that two workers never write to the same file; one
that the driver has given up may still be at work.
"""

import logging
import os
import re
import shutil
import socket
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrcr.errors import LrcrError, ParamsError
from lrcr.progress import SILENT, Progress
from lrcr.runtime.jobs import Job, Make
from lrcr.runtime.threads import use_threads
from lrcr.storage.state import state_root

AGAIN = 3
"""How often a shard is made again when its worker is lost."""

_PATIENCE = 30.0  # seconds until a file of another node must be seen here
_WARN_AFTER = 60.0  # seconds without a node
_LEFT_FOR = 86400.0  # seconds after which the folder of a killed driver is removed
_MOST_OF_A_CAUSE = 200  # characters
_PREFIX = re.compile(r"^lrcr\.errors\.\w+: ")  # of a line of a traceback
_CAUSES = ("The actor died because", "The actor is dead because", "Worker exit detail", "The node")  # lines of Ray
_log = logging.getLogger(__name__)


class Cluster:
    """Runs jobs on the nodes of the cluster that `$RAY_ADDRESS` names.

    Args:
        gpu: whether each worker has a GPU; nodes without one are then unused.
    """

    def __init__(self, *, gpu: bool) -> None:
        self.gpu = gpu

    def map(self, make: Make, jobs: Sequence[Job], progress: Progress) -> None:
        """See `Executor`.

        Raises:
            LrcrError: there is no cluster, no node of it has room for a worker or one does not share the folders, or
                the worker of one job was lost again and again.
        """
        if jobs:
            _connect()
            with _folder_of_run() as folder:
                _Run(make, folder, self.gpu).make_all(jobs, progress)


@dataclass(frozen=True)
class _Place:
    """What a worker must find on its node: the folder of the run, and the folder that the driver works in."""

    run: Path
    working: Path
    threads: int
    gpu: bool

    def enter(self) -> None:
        """Work in the driver's folder, with its number of threads.

        Raises:
            LrcrError: a folder is not there.
        """
        for folder in (self.run, self.working):
            if not folder.is_dir():
                raise LrcrError(
                    f"{folder}: not on node {socket.gethostname()}; start the command in a folder that all nodes "
                    "share, and set LRCR_STATE to another one"
                )
        os.chdir(self.working)
        if not self.gpu:
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        use_threads(self.threads)


class _Worker:
    """An actor: one process of a node."""

    def start(self, place: _Place, make: list[Any]) -> None:
        """Prepare for jobs.

        Args:
            make: a reference to it, in a list: Ray would fetch it before the folders are known to be there.

        Raises:
            LrcrError: a folder is not there, or `make` cannot be opened.
        """
        import ray

        place.enter()
        try:
            self._make: Make = ray.get(make[0])
        except ray.exceptions.RaySystemError as error:  # a text: the traceback of what was raised
            raised = str(error).splitlines()[-1]
            raise LrcrError(f"ray: node {socket.gethostname()}: {_PREFIX.sub('', raised)}") from None

    def run(self, items: Sequence[Any], own: Path, file: Path) -> None:
        """Make one file, under the name `own`."""
        self._make(items, own, SILENT)
        if own.is_dir() and file.exists():  # from a worker that the driver had given up
            shutil.rmtree(own)
        else:
            own.replace(file)


class _Run:
    """The driver's part of one `map`."""

    def __init__(self, make: Make, folder: Path, gpu: bool) -> None:
        import ray
        import torch

        self._place = _Place(folder, Path.cwd(), torch.get_num_threads(), gpu)
        self._workers, resources = _room(self._place)
        self._actor = ray.remote(**resources, scheduling_strategy="SPREAD")(_Worker)
        self._make = [ray.put(make)]
        self._busy: dict[Any, tuple[Any, Job | None]] = {}
        self._lost: Counter[Path | None] = Counter()
        self._started = 0

    def make_all(self, jobs: Sequence[Job], progress: Progress) -> None:
        """Make the files of all jobs."""
        import ray

        waiting = deque(jobs)
        try:
            for _ in range(min(self._workers, len(jobs))):
                self._start_worker()
            while waiting or any(job for _, job in self._busy.values()):
                worker, job, done = self._wait()
                if done and job is not None:
                    progress.advance(len(job.items))
                elif job is not None:
                    waiting.appendleft(job)
                if waiting and worker is not None:
                    self._run_job(worker, waiting.popleft())
                elif waiting:
                    self._start_worker()
                elif worker is not None:
                    ray.kill(worker)
        finally:
            for worker, _ in self._busy.values():
                ray.kill(worker)

    def _start_worker(self) -> None:
        worker = self._actor.remote()
        self._busy[worker.start.remote(self._place, self._make)] = (worker, None)

    def _run_job(self, worker: Any, job: Job) -> None:
        self._started += 1
        own = self._place.run / f"{self._started}-{job.file.name}"
        self._busy[worker.run.remote(job.items, own, job.file.absolute())] = (worker, job)

    def _wait(self) -> tuple[Any, Job | None, bool]:
        """Wait until a worker has started or has ended its job.

        Returns:
            The worker, None if it was lost; its job, None if it has started; and whether that was done.
        """
        import ray

        while not (ready := ray.wait(list(self._busy), timeout=_WARN_AFTER)[0]):
            if not any(job for _, job in self._busy.values()):
                _log.warning("ray: no worker has started for %.0f seconds; waiting for a node", _WARN_AFTER)
        worker, job = self._busy.pop(ready[0])
        try:
            ray.get(ready[0])
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, LrcrError):
                raise error.cause from None
            raise
        except ray.exceptions.RayError as error:
            ray.kill(worker)
            done = job is not None and job.file.exists()  # the worker can be lost after its work
            if not done:
                self._count_loss(job, _cause(error))
            return None, job, done
        if job is None:
            self._lost[None] = 0
        elif not _appears(job.file):
            self._count_loss(job, f"its file did not appear within {_PATIENCE:.0f} seconds")
            return worker, job, False
        return worker, job, True

    def _count_loss(self, job: Job | None, cause: str) -> None:
        """Count the loss of a worker.

        Raises:
            LrcrError: it was one too many.
        """
        place = None if job is None else job.file
        self._lost[place] += 1
        if self._lost[place] > AGAIN:
            what = "ray: a worker that starts" if place is None else f"{place}: the worker that makes it"
            raise LrcrError(f"{what} was lost {self._lost[place]} times ({cause}); run the same command again")


def _connect() -> None:
    """Connect this process with the cluster.

    Raises:
        LrcrError: there is none.
        ParamsError: Ray is not installed.
    """
    try:
        import ray
    except ImportError:
        raise ParamsError(
            "executor: ray is not installed; run pip install 'lrcr[ray]', or set executor to local"
        ) from None
    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS") or "auto"
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise LrcrError(
            f"RAY_ADDRESS: {address!r} is no Ray cluster ({_shortened(str(error))}); run ray start, or set executor to "
            "local"
        ) from None


def _room(place: _Place) -> tuple[int, dict[str, Any]]:
    """The number of workers of the cluster, and the resources of each.

    Raises:
        LrcrError: there is no room for any.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if place.gpu:
        resources, workers = {"num_cpus": 1, "num_gpus": 1}, sum(int(node.get("GPU", 0)) for node in nodes)
        needed = "a GPU; set device to cpu"
    else:
        threads = place.threads
        resources, workers = {"num_cpus": threads}, sum(int(node.get("CPU", 0)) // threads for node in nodes)
        needed = f"{threads} CPUs, one a thread; set threads to a lower number"
    if not workers:
        raise LrcrError(f"ray: none of {len(nodes)} nodes has {needed}")
    return workers, resources


@contextmanager
def _folder_of_run() -> Iterator[Path]:
    """A folder for the files that are being written; those of drivers that were killed long ago are removed."""
    parent = state_root().absolute() / "ray"
    folder = parent / uuid.uuid4().hex
    folder.mkdir(parents=True)
    for other in parent.iterdir():
        if time.time() - other.stat().st_mtime > _LEFT_FOR:
            shutil.rmtree(other, ignore_errors=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not any(parent.iterdir()):
            parent.rmdir()


def _appears(file: Path) -> bool:
    """Wait until a file is there: on a network file system it can be seen late."""
    end = time.monotonic() + _PATIENCE
    while not file.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
        list(file.parent.iterdir())  # makes the client of the file system ask the server again
    return True


def _cause(error: Exception) -> str:
    """Why a worker was lost, in one line: Ray explains at length."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    known = [line for line in lines if line.startswith(_CAUSES)]
    return _shortened((known or lines or [type(error).__name__])[0])


def _shortened(text: str) -> str:
    return " ".join(text.split())[:_MOST_OF_A_CAUSE]
