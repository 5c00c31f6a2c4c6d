"""Jobs on a cluster: the files are those of one process, whatever dies meanwhile."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from lrcr.errors import ImageError, LrcrError
from lrcr.progress import SILENT, Progress
from lrcr.runtime import cluster as module
from lrcr.runtime.cluster import Cluster
from lrcr.runtime.executor import choose_executor, make_shards
from lrcr.runtime.jobs import Job

from .makes import CannotBeOpened, Killed, NoteWorker, refuse_photo, write_items, write_slowly

pytestmark = pytest.mark.cluster


class Bar(Progress):
    """The tasks, and the steps that were made."""

    def __init__(self) -> None:
        self.tasks: list[tuple[str, int | None]] = []
        self.steps = 0

    @contextmanager
    def task(self, description, total):
        self.tasks.append((description, total))
        yield self

    def advance(self, steps=1):
        self.steps += steps


def make(folder: Path, write, items=range(12), size=1, progress: Progress = SILENT) -> list[str]:
    folder.mkdir(exist_ok=True)
    files = make_shards(write, items, size, folder, ".txt", progress, "try", choose_executor("ray"))
    return [file.read_text() for file in files]


LINES = [f"{item}\n" for item in range(12)]


def test_all_nodes_work_in_the_folder_and_with_the_threads_of_the_driver(nodes, tmp_path, monkeypatch, state):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "met").mkdir()
    progress = Bar()
    found = [line.split(" ") for line in make(tmp_path / "out", NoteWorker(tmp_path / "met"), range(24), 2, progress)]
    assert len({node for node, *_ in found}) == 3
    assert {tuple(rest) for _, *rest in found} == {(str(tmp_path), "1", "''")}
    assert (progress.tasks, progress.steps) == ([("try", 24)], 24), "one bar"
    assert not list(state.iterdir())


def test_shards_that_are_there_are_not_made_again(nodes, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "shard-00003.txt").write_text("as it was left")
    progress = Bar()
    found = make(tmp_path / "out", write_items, progress=progress)
    assert found == [*LINES[:3], "as it was left", *LINES[4:]] and progress.steps == 12


def test_nodes_that_are_killed_at_random_change_nothing(nodes, tmp_path):
    """Two of three nodes, one after the other, after a random number of files and at a random moment of the next."""
    rng, folder, at_kill = random.Random(0), tmp_path / "out", []
    folder.mkdir()

    def kill() -> None:
        for which, first, last in ((1, 2, 7), (0, 9, 15)):
            number, end = rng.randint(first, last), time.monotonic() + 200
            while len(list(folder.iterdir())) < number and time.monotonic() < end:
                time.sleep(0.05)
            time.sleep(rng.uniform(0, 0.5))
            at_kill.append(len(list(folder.iterdir())))
            nodes.kill(which)

    killer = threading.Thread(target=kill)
    killer.start()
    progress = Bar()
    try:
        assert make(folder, write_slowly, range(24), progress=progress) == [f"{i}\n" for i in range(24)]
    finally:
        killer.join()
    assert 2 <= at_kill[0] < at_kill[1] < 24 and len(nodes.others) == 0
    assert progress.steps == 24 and len(list(folder.iterdir())) == 24


def test_a_shard_is_made_again_three_times_and_then_refused(nodes, tmp_path):
    (tmp_path / "marker").mkdir()
    assert make(tmp_path / "one", Killed(tmp_path / "marker", 3)) == LINES
    (tmp_path / "again").mkdir()
    said = r"/shard-00005\.txt: the worker that makes it was lost 4 times \(.+\); run the same command again$"
    with pytest.raises(LrcrError, match=said) as error:
        make(tmp_path / "two", Killed(tmp_path / "again", 4))
    assert "\n" not in str(error.value)
    assert make(tmp_path / "two", Killed(tmp_path / "again", 4)) == LINES, "the same command continues"


def test_the_error_of_a_worker_is_told(nodes, tmp_path):
    with pytest.raises(ImageError, match=r"^\d+\.png: not an image; replace it$"):
        make(tmp_path / "out", refuse_photo)


def test_a_make_that_workers_cannot_open_is_told(nodes, tmp_path):
    with pytest.raises(LrcrError, match=r"^ray: node \S+: lost\.pt: no such file; train a model first$"):
        make(tmp_path / "out", CannotBeOpened())


def test_nodes_without_the_folders_are_refused(nodes, tmp_path, monkeypatch):
    """As on a cluster without a shared file system: the driver's folder is not on the node."""
    monkeypatch.setattr(module, "_folder_of_run", lambda: nullcontext(Path("/nowhere")))
    with pytest.raises(LrcrError, match=r"^/nowhere: not on node \S+; start the command in a folder that all nodes "):
        make(tmp_path / "out", write_items)
    assert not list((tmp_path / "out").iterdir())


def test_too_many_threads_for_every_node_are_refused(nodes, tmp_path, threads):
    with threads(2), pytest.raises(LrcrError, match=r"^ray: none of 3 nodes has 2 CPUs, one a thread; set threads"):
        make(tmp_path / "out", write_items)
    with pytest.raises(LrcrError, match=r"^ray: none of 3 nodes has a GPU; set device to cpu$"):
        Cluster(gpu=True).map(write_items, [Job([0], tmp_path / "file")], SILENT)


def test_the_driver_holds_no_more_jobs_than_there_are_workers(nodes, tmp_path, monkeypatch):
    under_way = []
    run_job = module._Run._run_job

    def watched(run, worker, job) -> None:
        run_job(run, worker, job)
        under_way.append(sum(job is not None for _, job in run._busy.values()))

    monkeypatch.setattr(module._Run, "_run_job", watched)
    make(tmp_path / "out", write_items, range(60))
    assert len(under_way) == 60 and max(under_way) <= 3


DRIVER = """
import sys
from pathlib import Path
from lrcr.progress import SILENT
from lrcr.runtime.executor import choose_executor, make_shards
from cluster.makes import write_slowly
make_shards(write_slowly, range(12), 1, Path(sys.argv[1]), ".txt", SILENT, "try", choose_executor("ray"))
"""


def test_a_killed_driver_continues_from_the_shards(nodes, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(folder)], env=os.environ)
    end = time.monotonic() + 100
    while len(list(folder.iterdir())) < 3:
        assert time.monotonic() < end and driver.poll() is None
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    left = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert 3 <= len(left) < 12
    assert make(folder, write_slowly) == LINES
    assert {file: file.stat().st_mtime_ns for file in left} == left
