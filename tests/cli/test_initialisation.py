"""`lrcr init`."""

from pathlib import Path

import pytest

from lrcr.config.reading import load_params
from lrcr.config.recipes import recipe_names
from lrcr.config.writing import write_params

from .command import refuse, run

FILE = Path("params.yaml")


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", [None, *recipe_names()])
def test_the_params_of_a_recipe_are_written(name):
    assert run("init", *(() if name is None else ("--recipe", name))) == (0, "", "params.yaml: written\n")
    assert FILE.read_text(encoding="utf-8") == write_params(name)
    assert load_params(FILE) == load_params(recipe=name)


def test_params_are_overwritten_only_by_force():
    FILE.write_text("seed: 1\n")
    assert refuse("init") == "params.yaml: exists; move it away, or overwrite it with --force"
    assert FILE.read_text() == "seed: 1\n"
    assert run("init", "--recipe", "how-r18", "--force")[0] == 0
    assert load_params(FILE) == load_params(recipe="how-r18")


def test_an_unknown_recipe_writes_nothing():
    assert refuse("init", "--recipe", "how-r19").startswith(
        "--recipe: unknown recipe 'how-r19'; use one of apgem-r101, cfcd-r50,"
    )
    assert not FILE.exists()
    FILE.mkdir()
    assert refuse("init", "--force") == "params.yaml: is a folder, not a file; name another file"
