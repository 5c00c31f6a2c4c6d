"""Shares of an array job: together they make every shard once, and none goes on to what needs all shards."""

import re
from pathlib import Path

import pytest

from lrcr.cli.terminal import one_line_errors
from lrcr.errors import ImageError, LrcrError, ParamsError, ShareMade
from lrcr.progress import SILENT
from lrcr.runtime import processes
from lrcr.runtime.executor import choose_executor, make_shards
from lrcr.runtime.processes import InProcess, ThisMachine
from lrcr.runtime.shares import Share, own_share, refuse_share

from .makes import refuse_photo, write_items

SLURM = ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_COUNT")


@pytest.fixture(autouse=True)
def no_share(monkeypatch):
    for name in ("LRCR_SHARD", "LRCR_WORKERS", *SLURM):
        monkeypatch.delenv(name, raising=False)


def make(folder: Path, write=write_items) -> list[Path]:
    return make_shards(write, range(12), 2, folder, ".txt", SILENT, "try", choose_executor())


def made(folder: Path) -> set[int]:
    return {int(re.search(r"\d+", file.name)[0]) for file in folder.iterdir()}


def test_every_shard_is_in_one_share(tmp_path, monkeypatch):
    for index, expected in ((2, {2}), (0, {0, 2, 4}), (3, {0, 2, 3, 4}), (1, {0, 1, 2, 3, 4, 5})):
        monkeypatch.setenv("LRCR_SHARD", f"{index}/4")
        with pytest.raises(ShareMade, match=rf"^share {index}/4: made \d of the \d shards that were missing; when all"):
            make(tmp_path)
        assert made(tmp_path) == expected
    monkeypatch.delenv("LRCR_SHARD")
    written = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert [file.read_text() for file in make(tmp_path)] == [f"{i}\n{i + 1}\n" for i in range(0, 12, 2)]
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == written


def test_a_share_that_is_made_again_makes_only_what_is_missing_of_it(tmp_path, monkeypatch):
    monkeypatch.setenv("LRCR_SHARD", "1/2")
    (tmp_path / "shard-00003.txt").write_text("as it was left")
    with pytest.raises(ShareMade, match=r"^share 1/2: made 2 of the 5 shards"):
        make(tmp_path)
    assert made(tmp_path) == {1, 3, 5}
    assert (tmp_path / "shard-00003.txt").read_text() == "as it was left"


def test_a_run_without_a_share_makes_what_a_lost_task_has_not_made(tmp_path, monkeypatch):
    monkeypatch.setenv("LRCR_SHARD", "0/3")
    with pytest.raises(ShareMade):
        make(tmp_path)
    monkeypatch.delenv("LRCR_SHARD")
    assert len(make(tmp_path)) == 6 and made(tmp_path) == set(range(6))


def test_the_processes_of_a_task_make_its_share(tmp_path, monkeypatch):
    """As many as asked for, but not more than it has shards."""
    started = []
    monkeypatch.setattr(processes, "Processes", lambda workers: started.append(workers) or InProcess())
    monkeypatch.setenv("LRCR_SHARD", "0/2")
    monkeypatch.setenv("LRCR_WORKERS", "9")
    with pytest.raises(ShareMade):
        make(tmp_path)
    assert made(tmp_path) == {0, 2, 4} and started == [3]


def test_what_a_share_refuses_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("LRCR_SHARD", "1/2")
    with pytest.raises(ImageError, match=r"^2\.png: not an image"):
        make(tmp_path, refuse_photo)


def test_a_command_ends_well_after_its_share(capsys):
    with pytest.raises(SystemExit) as ended, one_line_errors():
        raise ShareMade("share 0/2: made")
    assert ended.value.code == 0
    assert capsys.readouterr().err == "share 0/2: made\n"
    assert not issubclass(ShareMade, LrcrError)


@pytest.mark.parametrize("first", [0, 1, 7])
def test_slurm_numbers_the_shares(monkeypatch, first):
    for name, value in zip(SLURM, (first + 2, first, 5), strict=True):
        monkeypatch.setenv(name, str(value))
    assert own_share() == (2, 5)
    executor = choose_executor()
    assert isinstance(executor, Share) and (executor.index, executor.count) == (2, 5)
    monkeypatch.setenv("LRCR_SHARD", "1/3")
    assert own_share() == (1, 3), "the own variable comes first"


def test_one_share_of_one_is_all_of_the_work(monkeypatch):
    assert own_share() is None
    monkeypatch.setenv("LRCR_SHARD", "0/1")
    assert own_share() is None and isinstance(choose_executor(), ThisMachine)
    refuse_share("an index")


@pytest.mark.parametrize("given", ["1", "0/0", "2/2", "-1/2", "a/b", "1/2/3", "0.5/1", "²/3"])
def test_a_wrong_share_is_refused(monkeypatch, given):
    monkeypatch.setenv("LRCR_SHARD", given)
    with pytest.raises(ParamsError, match=f"^LRCR_SHARD: '{re.escape(given)}'(:| is not)"):
        own_share()


@pytest.mark.parametrize("missing", SLURM)
def test_one_variable_of_slurm_without_the_others_is_refused(monkeypatch, missing):
    for name in set(SLURM) - {missing}:
        monkeypatch.setenv(name, "1")
    with pytest.raises(ParamsError, match=f"^{missing}: is not set, but SLURM_ARRAY_TASK_.* is; set LRCR_SHARD to i/n"):
        own_share()


def test_tasks_with_gaps_between_their_numbers_are_refused(monkeypatch):
    for name, value in zip(SLURM, (8, 0, 5), strict=True):
        monkeypatch.setenv(name, str(value))
    with pytest.raises(ParamsError, match=r"^SLURM_ARRAY_TASK_ID: 8 .*: there is no share 8 of 5; number the tasks"):
        own_share()


def test_what_has_no_shards_is_refused(monkeypatch):
    monkeypatch.setenv("LRCR_SHARD", "0/2")
    with pytest.raises(ParamsError, match=r"^LRCR_SHARD: an index cannot be made in shares; set LRCR_SHARD to 0/1"):
        refuse_share("an index")
