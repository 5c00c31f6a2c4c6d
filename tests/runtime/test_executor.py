"""Jobs run in this process or in several; the files are the same."""

import gc
import multiprocessing
import os
import queue
import signal
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from lrcr.errors import ImageError, LrcrError, ParamsError, WeightsError
from lrcr.progress import SILENT, Progress
from lrcr.runtime import processes as module
from lrcr.runtime.executor import make_shards
from lrcr.runtime.jobs import Job
from lrcr.runtime.processes import InProcess, Processes, worker_count

from . import makes
from .makes import CannotBeOpened, KilledOnce, note_process, refuse_photo, write_items


class Recorder(Progress):
    """Tasks, and the steps of each call of `advance`."""

    def __init__(self) -> None:
        self.tasks: list[tuple[str, int | None]] = []
        self.steps: list[int] = []

    @contextmanager
    def task(self, description, total):
        self.tasks.append((description, total))
        yield self

    def advance(self, steps=1):
        self.steps.append(steps)


def make(folder: Path, write=write_items, items=range(12), size=5, progress: Progress = SILENT) -> list[Path]:
    return make_shards(write, items, size, folder, ".txt", progress, "try")


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    """Folders to write into; and where worker processes find the module `makes`."""
    for name in ("none", "1", "4", "together"):
        (tmp_path / name).mkdir()
    monkeypatch.syspath_prepend(str(Path(makes.__file__).parents[makes.__name__.count(".")]))


def contents(files: list[Path]) -> list[str]:
    return [file.read_text() for file in files]


EXPECTED = ["0\n1\n2\n3\n4\n", "5\n6\n7\n8\n9\n", "10\n11\n"]


def test_one_process_makes_the_shards_in_order(tmp_path):
    progress = Recorder()
    files = make(tmp_path, progress=progress)
    assert [file.name for file in files] == ["shard-00000.txt", "shard-00001.txt", "shard-00002.txt"]
    assert contents(files) == EXPECTED
    assert (progress.tasks, progress.steps) == ([("try", 12)], [0, 5, 5, 2])
    assert make(tmp_path / "none", items=[]) == []


def test_shards_that_are_there_are_not_made_again(tmp_path):
    first = make(tmp_path)
    first[1].write_text("as it was left")
    first[2].unlink()
    progress = Recorder()
    assert contents(make(tmp_path, progress=progress)) == [EXPECTED[0], "as it was left", EXPECTED[2]]
    assert progress.steps == [10, 2]


def test_one_worker_or_one_job_needs_no_process(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Processes", None)
    for workers, items in (("1", range(12)), ("4", range(5))):
        monkeypatch.setenv("LRCR_WORKERS", workers)
        [pid] = set(contents(make(tmp_path / workers, note_process, items)))
        assert int(pid) == os.getpid()


def test_when_a_worker_is_killed_the_next_run_makes_only_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("LRCR_WORKERS", "2")
    write, folder = KilledOnce(tmp_path / "marker"), tmp_path / "together"
    said = r"^LRCR_WORKERS: one of 2 worker processes was killed \(.*\); run the same command again to continue$"
    with pytest.raises(LrcrError, match=said):
        make(folder, write, size=1)
    assert not multiprocessing.active_children()
    left = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert folder / "shard-00005.txt" not in left
    progress = Recorder()
    files = make(folder, write, size=1, progress=progress)
    assert contents(files) == [f"{item}\n" for item in range(12)]
    assert progress.tasks == [("try", 12)]
    assert progress.steps[0] == len(left) and sum(progress.steps) == 12
    assert {file: file.stat().st_mtime_ns for file in left} == left
    assert not multiprocessing.active_children()


def test_what_a_worker_refuses_is_told(tmp_path):
    with pytest.raises(ImageError, match=r"^2\.png: not an image; replace it$"):
        Processes(1).map(refuse_photo, [Job([2], tmp_path / "a")], SILENT)
    assert not multiprocessing.active_children()


def test_a_make_that_workers_cannot_open_is_told(tmp_path):
    with pytest.raises(WeightsError, match=r"^lost\.pt: no such file; train a model first$"):
        Processes(1).map(CannotBeOpened(), [Job([2], tmp_path / "a")], SILENT)
    assert not multiprocessing.active_children()


def test_what_is_refused_in_this_process_is_told_too(tmp_path):
    with pytest.raises(ImageError, match=r"^2\.png: not an image"):
        InProcess().map(refuse_photo, [Job([2], tmp_path / "a")], SILENT)


def test_workers_take_the_gpus_in_turns_and_have_the_threads_of_their_parent(monkeypatch):
    """The start of a worker process, run here for three workers on a machine with two GPUs."""
    chosen, parents, threads = [], [], []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(module, "end_with", parents.append)
    monkeypatch.setattr(module, "use_threads", threads.append)
    monkeypatch.setattr(module, "_make", None, raising=False)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    makes, started = queue.Queue(), multiprocessing.get_context("spawn").Value("i", 0)
    for _ in range(3):
        makes.put(write_items)
        module._start_worker(makes, started, 77, 2, gc.get_threshold())
    assert (chosen, parents, threads) == ([0, 1, 0], [77] * 3, [2] * 3)
    assert module._make is write_items


def test_a_worker_ends_with_its_parent(monkeypatch):
    ended, parents = threading.Event(), [77]
    monkeypatch.setattr(os, "getppid", lambda: parents[0])
    monkeypatch.setattr(os, "_exit", lambda code: ended.set())
    module.end_with(77)
    assert not ended.wait(0.3), "the parent lives"
    parents[0] = 1
    assert ended.wait(5)


@pytest.mark.parametrize("number", ["0", "-1", "two", "1.5"])
def test_a_wrong_number_of_workers_is_refused(tmp_path, monkeypatch, number):
    monkeypatch.setenv("LRCR_WORKERS", number)
    said = f"^LRCR_WORKERS: '{number}' is not a number of processes; give 1 or more$"
    with pytest.raises(ParamsError, match=said):
        make(tmp_path)
    assert not list(tmp_path.glob("*.txt"))


def test_the_number_of_workers_is_one_unless_it_is_set(monkeypatch):
    monkeypatch.delenv("LRCR_WORKERS", raising=False)
    assert worker_count() == 1
    monkeypatch.setenv("LRCR_WORKERS", "")
    assert worker_count() == 1
    monkeypatch.setenv("LRCR_WORKERS", "12")
    assert worker_count() == 12
