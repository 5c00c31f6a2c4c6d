import errno
import os
import threading
from contextlib import ExitStack

import pytest

from lrcr.storage import state as module
from lrcr.storage.state import only_run, state_folder, state_root, take_finished

STEP = "lrcr.features.extraction"


def folder_of(*identity, step=STEP, kept=True):
    with state_folder(step, *identity, kept=kept) as folder:
        assert folder.is_dir()
    return folder


def test_unfinished_work_lies_where_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LRCR_STATE", str(tmp_path / "state"))
    assert state_root() == tmp_path / "state"
    assert folder_of("abc").parent == tmp_path / "state"
    monkeypatch.setenv("LRCR_STATE", "")
    assert folder_of("abc").parent == tmp_path / "cache" / "lrcr"
    monkeypatch.delenv("LRCR_STATE")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert folder_of("abc").parent == tmp_path / "home" / ".cache" / "lrcr"


def test_the_same_step_on_the_same_inputs_finds_its_folder_and_no_other_does(state):
    with pytest.raises(InterruptedError), state_folder(STEP, "abc", {"size": 3}) as folder:
        (folder / "half").touch()
        raise InterruptedError
    with ExitStack() as stack:
        assert stack.enter_context(state_folder(STEP, "abc", {"size": 3})) == folder
        assert [file.name for file in folder.iterdir()] == ["half"]
        others = [
            stack.enter_context(state_folder(STEP, "abc", {"size": 4})),
            stack.enter_context(state_folder(STEP, "abd", {"size": 3})),
            stack.enter_context(state_folder(STEP, "abc")),
            stack.enter_context(state_folder("lrcr.retrieval.build", "abc", {"size": 3})),
        ]
        assert len({folder, *others}) == 5
        assert sorted(path for path in state.iterdir() if path.is_dir()) == sorted([folder, *others])
    assert not list(state.iterdir()), "neither folders nor locks stay"


def test_an_edit_of_what_the_step_imports_begins_anew(monkeypatch):
    """A run that was killed, edited and started again must not mix two versions of the code."""
    folder = folder_of("abc")
    monkeypatch.setattr(module, "source_fingerprint", lambda step: f"edited {step}")
    assert folder_of("abc") != folder
    monkeypatch.undo()
    assert folder_of("abc").name == folder.name


def test_a_step_that_is_no_module_of_the_package_is_a_mistake():
    with pytest.raises(AssertionError, match="json is not a module of this package"):
        folder_of("abc", step="json")


def test_a_second_run_waits_and_then_begins_anew(state, caplog):
    began, seen = threading.Event(), []

    def second():
        began.set()
        with state_folder(STEP, "abc") as folder:
            seen.append(sorted(file.name for file in folder.iterdir()))

    with state_folder(STEP, "abc") as folder:
        thread = threading.Thread(target=second)
        thread.start()
        began.wait()
        (folder / "half").touch()
        thread.join(0.3)
        assert thread.is_alive() and not seen
    thread.join(10)
    assert seen == [[]]
    assert caplog.messages == [f"{folder}: another run does the same work; waiting until it has finished"]
    assert not list(state.iterdir())


def test_many_runs_use_a_folder_one_after_the_other(state):
    """Each removes folder and lock, so that the next ones wait at a name that comes and goes."""
    inside, most = [], []

    def run():
        for _ in range(5):
            with state_folder(STEP, "abc") as folder:
                inside.append(folder)
                most.append(len(inside))
                (folder / "half").touch(exist_ok=False)
                inside.pop()

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == [1] * 30
    assert not list(state.iterdir())


def test_processes_that_share_the_work_do_not_wait(state):
    with state_folder(STEP, "abc", shared=True, kept=True) as folder, state_folder(STEP, "abc", shared=True) as other:
        assert folder == other


def test_a_lock_does_not_need_the_folder(state):
    with only_run(state / "scans" / "abc"):
        assert not (state / "scans").exists()
    assert not list(state.iterdir())


@pytest.mark.parametrize("missing", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_of_the_file_system_a_run_goes_on(state, monkeypatch, caplog, missing):
    def flock(descriptor, operation):
        raise OSError(missing, os.strerror(missing))

    monkeypatch.setattr("fcntl.flock", flock)
    with state_folder(STEP, "abc") as folder:
        assert folder.is_dir()
    assert not list(state.iterdir())
    [said] = caplog.messages
    assert said.endswith(f"cannot be locked ({os.strerror(missing)}); do not run the same work twice at a time")


def test_what_a_kill_leaves_of_finished_work_is_not_continued(state, monkeypatch):
    def kill(folder, **_):
        (folder / "index").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt), state_folder(STEP, "abc") as folder:
        (folder / "index").touch()
        (folder / "codebook").touch()
        patched.setattr(module.shutil, "rmtree", kill)
    with state_folder(STEP, "abc") as again:
        assert again == folder and not list(again.iterdir())
    assert not list(state.iterdir())


@pytest.mark.parametrize("error", [None, errno.EXDEV, errno.EPERM])
def test_finished_work_is_in_the_state_and_in_the_artifact(tmp_path, monkeypatch, error):
    def link(source, target):
        raise OSError(error, "no links")

    if error is not None:
        monkeypatch.setattr(module.os, "link", link)
    (tmp_path / "state/sub").mkdir(parents=True)
    for name in ("a", "sub/b"):
        (tmp_path / "state" / name).write_text(name)
    take_finished(tmp_path / "state", tmp_path / "artifact")
    take_finished(tmp_path / "state/a", tmp_path / "file")
    for file, text in (("artifact/a", "a"), ("artifact/sub/b", "sub/b"), ("file", "a"), ("state/sub/b", "sub/b")):
        assert (tmp_path / file).read_text() == text
    assert ((tmp_path / "file").stat().st_nlink == 3) == (error is None)
