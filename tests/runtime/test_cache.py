"""Compiled functions where numba finds no place for its cache: the folder of a module and the home are plain files."""

import importlib.util
import tempfile
from pathlib import Path

import numba
import pytest

from lrcr.runtime.cache import compile_cached


@pytest.fixture
def temporary(tmp_path, monkeypatch) -> Path:
    """The only folder that can be written, of temporary files."""
    nowhere = tmp_path / "__pycache__"
    nowhere.write_text("not a folder")
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(nowhere))
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def load(folder: Path):
    """A function of a module in a folder."""
    file = folder / "doubling.py"
    file.write_text("def double(number):\n    return 2 * number\n")
    spec = importlib.util.spec_from_file_location("doubling", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.double


def test_numba_alone_would_refuse(tmp_path, temporary):
    with pytest.raises(RuntimeError, match="cannot cache function 'double': no locator available"):
        numba.njit(cache=True)(load(tmp_path))


def test_the_cache_is_in_a_temporary_folder_of_the_user_alone(tmp_path, temporary):
    first = compile_cached(load(tmp_path))  # stays alive: numba cannot import this module again to load its function
    assert first(3) == 6
    [folder] = temporary.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert list(folder.rglob("doubling.double*.nbc"))
    again = compile_cached(load(tmp_path))
    assert again(3) == 6 and sum(again.stats.cache_hits.values()) == 1


@pytest.mark.parametrize("mode", [0o777, 0o770])
def test_a_folder_that_others_may_write_is_not_used(tmp_path, temporary, mode):
    compile_cached(load(tmp_path))
    [folder] = temporary.iterdir()
    folder.chmod(mode)
    numba.config.CACHE_DIR = ""
    assert compile_cached(load(tmp_path))(3) == 6
    assert not list(folder.rglob("*.nb*"))


def test_a_link_to_a_folder_is_not_used(tmp_path, temporary):
    compile_cached(load(tmp_path))
    [folder] = temporary.iterdir()
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    numba.config.CACHE_DIR = ""
    assert compile_cached(load(tmp_path))(3) == 6
    assert not list((tmp_path / "elsewhere").rglob("*.nb*"))


def test_without_any_folder_there_is_no_cache(tmp_path, temporary, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "__pycache__"))
    assert compile_cached(load(tmp_path))(3) == 6
    assert not list(tmp_path.rglob("*.nb*"))
