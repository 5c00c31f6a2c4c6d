"""The package as `python -m build` makes it: what is in it, and that its command works outside the checkout."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import lrcr
from lrcr.config.recipes import recipe_names

ROOT = Path(__file__).parents[1]
DECLARED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SMALL = [
    word
    for override in (
        "backbone.weights=none",
        "backbone.skip_layers=3",
        "backbone.crop_border=0",
        "whitening.dim=16",
        "extract.image_size=64",
        "extract.scales=[1.0]",
        "extract.max_descriptors=60",
        "codebook.words=16",
    )
    for word in ("--set", override)
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a source distribution of a copy of the sources, without network."""
    sources, built = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT / "lrcr", sources / "lrcr", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", *DECLARED["project"]["license-files"]):
        shutil.copy(ROOT / name, sources)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), str(sources)]
    done = subprocess.run(command, cwd=built, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len([*built.glob("*.tar.gz")]) == 1
    [wheel] = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """A folder into which only the wheel is installed; its dependencies are those of the tests."""
    folder = tmp_path_factory.mktemp("installed")
    command = ["uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--target", str(folder), str(wheel)]
    subprocess.run([sys.executable, "-m", *command], check=True)
    return folder


def run(installed: Path, folder: Path, *command: object) -> str:
    """What a command writes to standard output, if it uses the installed package and works in `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    words = [sys.executable, *map(str, command)]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_contains_the_package_its_data_and_its_licences(wheel):
    with zipfile.ZipFile(wheel) as opened:
        names = set(opened.namelist())
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA"))
        text = opened.read(metadata).decode()
    expected = {path.relative_to(ROOT).as_posix() for path in (ROOT / "lrcr").rglob("*.py")}
    expected |= {"lrcr/py.typed", *(f"lrcr/config/recipes/{name}.yaml" for name in recipe_names())}
    pages = (ROOT / "lrcr/app/static", ROOT / "lrcr/report/page")
    expected |= {path.relative_to(ROOT).as_posix() for page in pages for path in page.iterdir() if path.is_file()}
    others = {name for name in names if ".dist-info/" not in name}
    assert others == expected
    licences = metadata.removesuffix("METADATA") + "licenses/"
    assert {f"{licences}{name}" for name in ("LICENSE", "THIRD_PARTY.md")} <= names
    assert f"\nVersion: {lrcr.__version__}\n" in text and "\nLicense-Expression: MIT\n" in text


def test_the_command_works_from_the_wheel_in_an_empty_folder(installed, tmp_path, tmp_path_factory, draw_dataset):
    drawn = draw_dataset(tmp_path_factory.mktemp("drawn") / "dataset", [(96, 80)] * 6, ["a", "b", "c"] * 2)
    photos = drawn / "images"
    about = "import importlib.metadata, lrcr; print(lrcr.__file__); print(importlib.metadata.version('lrcr'))"
    assert run(installed, tmp_path, "-c", about).split() == [str(installed / "lrcr/__init__.py"), lrcr.__version__]
    command = installed / "bin" / "lrcr"
    run(installed, tmp_path, command, "init", "--recipe", "how-r18")
    assert "resnet18" in (tmp_path / "params.yaml").read_text(encoding="utf-8")
    run(installed, tmp_path, command, "index", photos, "-o", "my.index", "--recipe", "how-r18", *SMALL)
    given = ("--top", 2, "--recipe", "how-r18", "--set", "search.multiple_assignment=1", "--json")
    results = json.loads(run(installed, tmp_path, command, "search", "my.index", photos / "1.png", *given))
    assert [result["image"] for result in results] == ["1.png", "4.png"]
