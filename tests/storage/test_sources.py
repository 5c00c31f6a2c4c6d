"""What a module imports of its package, on a package of a few files that import each other in every way."""

import pytest

from lrcr.storage import sources as module
from lrcr.storage.sources import imported_files, imported_modules, module_file, source_fingerprint

FILES = {
    "__init__.py": "",
    "step.py": "import json\nfrom house.rooms import kitchen\nfrom house.loop import a\n",
    "rooms/__init__.py": '"""Rooms."""\n',
    "rooms/kitchen.py": "def cook():\n    import house.rooms.cellar as below\n    return below\n",
    "rooms/cellar.py": "import numpy.linalg\n",
    "rooms/attic.py": "",
    "loop.py": "from house.back import b\na = 1\n",
    "back.py": "import house.loop\nb = 2\n",
}


@pytest.fixture
def house(tmp_path, monkeypatch):
    """The package `house` in place of lrcr."""
    folder = tmp_path / "house"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr(module, "PACKAGE", folder)
    forget()
    yield folder
    forget()


def forget():
    """As in a new process."""
    imported_modules.cache_clear()
    source_fingerprint.cache_clear()


def test_every_form_of_import_is_found(tmp_path):
    file = tmp_path / "a.py"
    file.write_text(
        "import os, json.decoder as d\nfrom typing import Any, Literal\n"
        "def f():\n    from lrcr.data import dataset\n\nif True:\n    class C:\n        import lrcr.errors\n"
    )
    assert imported_modules(file) == {
        *("os", "json.decoder", "typing", "typing.Any", "typing.Literal"),
        *("lrcr.data", "lrcr.data.dataset", "lrcr.errors"),
    }


def test_the_file_of_a_module(house):
    assert module_file("house.rooms.kitchen") == house / "rooms/kitchen.py"
    assert module_file("house.rooms") == house / "rooms/__init__.py"
    assert module_file("house") == house / "__init__.py"
    assert module_file("house.rooms.kitchen.cook") is None, "a name in a module is no module"
    assert module_file("numpy.linalg") is None
    assert module_file("houses.step") is None


def test_files_imported_directly_through_others_and_in_a_circle(house):
    found = {file.relative_to(house).as_posix() for file in imported_files(house / "step.py")}
    assert found == {"rooms/__init__.py", "rooms/kitchen.py", "rooms/cellar.py", "loop.py", "back.py"}
    assert {file.name for file in imported_files(house / "loop.py")} == {"back.py", "loop.py"}
    assert imported_files(house / "rooms/attic.py") == set()


@pytest.mark.parametrize("edited", ["step.py", "rooms/kitchen.py", "rooms/cellar.py", "back.py"])
def test_the_fingerprint_follows_every_file_that_is_imported(house, edited):
    before = source_fingerprint("house.step")
    (house / edited).write_text(f"{FILES[edited]}# a comment\n")
    forget()
    assert source_fingerprint("house.step") != before
    (house / edited).write_text(FILES[edited])
    forget()
    assert source_fingerprint("house.step") == before


def test_the_fingerprint_ignores_files_that_are_not_imported(house):
    before = source_fingerprint("house.step")
    (house / "rooms/attic.py").write_text("x = 1\n")
    (house / "rooms/new.py").write_text("")
    forget()
    assert source_fingerprint("house.step") == before
    assert source_fingerprint("house.rooms.attic") != before


def test_the_fingerprint_of_a_real_step_covers_what_it_runs():
    files = {file.relative_to(module.PACKAGE).as_posix() for file in imported_files(module_file("lrcr.training.train"))}
    assert {"losses/contrastive.py", "models/local.py", "data/loading.py", "config/training.py"} <= files
    assert not [file for file in files if file.split("/")[0] in ("cli", "report", "datasets")]
    assert len(source_fingerprint("lrcr.training.train")) == 32
