import pytest

from lrcr.storage import state as module
from lrcr.storage.state import state_folder, state_root

STEP = "lrcr.features.extraction"


def test_unfinished_work_lies_where_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LRCR_STATE", str(tmp_path / "state"))
    assert state_root() == tmp_path / "state"
    assert state_folder(STEP, "abc").parent == tmp_path / "state"
    assert state_folder(STEP, "abc").is_dir()
    monkeypatch.setenv("LRCR_STATE", "")
    assert state_folder(STEP, "abc").parent == tmp_path / "cache" / "lrcr"
    monkeypatch.delenv("LRCR_STATE")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert state_folder(STEP, "abc").parent == tmp_path / "home" / ".cache" / "lrcr"


def test_the_same_step_on_the_same_inputs_finds_its_folder_and_no_other_does(state):
    folder = state_folder(STEP, "abc", {"size": 3})
    (folder / "half").touch()
    assert state_folder(STEP, "abc", {"size": 3}) == folder
    assert [file.name for file in folder.iterdir()] == ["half"]
    others = [
        state_folder(STEP, "abc", {"size": 4}),
        state_folder(STEP, "abd", {"size": 3}),
        state_folder(STEP, "abc"),
        state_folder("lrcr.retrieval.build", "abc", {"size": 3}),
    ]
    assert len({folder, *others}) == 5
    assert sorted(state.iterdir()) == sorted([folder, *others])


def test_an_edit_of_what_the_step_imports_begins_anew(monkeypatch):
    """A run that was killed, edited and started again must not mix two versions of the code."""
    folder = state_folder(STEP, "abc")
    monkeypatch.setattr(module, "source_fingerprint", lambda step: f"edited {step}")
    assert state_folder(STEP, "abc") != folder
    monkeypatch.undo()
    assert state_folder(STEP, "abc").name == folder.name


def test_a_step_that_is_no_module_of_the_package_is_a_mistake():
    with pytest.raises(AssertionError, match="json is not a module of this package"):
        state_folder("json", "abc")
