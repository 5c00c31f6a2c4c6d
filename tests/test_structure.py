"""The walls of the house: imports go one way, and the pipeline names the files that each stage really imports."""

import ast
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lrcr.models.factory import MODEL_SECTIONS

ROOT = Path(__file__).parents[1]
PARAMS = ["section", "dataset_params", "model_params", "train_params", "params"]
ORDER = [
    ["errors", "artifacts", "progress", "arrays", "device", "jit", "ranks", "workers", *PARAMS],
    ["datasets", "images"],
    ["models", "losses"],
    ["descriptors", "loading", "shards", "extraction"],
    ["asmk", "flat", "engines", "reduction", "indexing", "ranking", "search"],
    ["evaluation"],
    ["training"],
    ["report"],
    ["workflow"],
    ["cli"],
]
ALWAYS = {f"lrcr/{name}.py" for name in ("errors", "artifacts", "progress", "device", "jit", "workers", *PARAMS)}
TERMINAL = {"dvc", "dvclive", "rich", "typer"}


@cache
def imported_modules(file: Path) -> frozenset[str]:
    """Every module that a file imports, at its top or inside a function."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def file_of(module: str) -> Path | None:
    path = ROOT / module.replace(".", "/")
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if module.split(".")[0] == "lrcr" and candidate.is_file():
            return candidate
    return None


def closure(file: Path) -> set[str]:
    """The files of lrcr that importing `file` reads, as paths below the project; what the terminal needs apart."""
    found: set[Path] = set()
    todo = [file]
    while todo:
        for module in imported_modules(todo.pop()):
            target = file_of(module)
            if target and target not in found and not target.is_relative_to(ROOT / "lrcr/cli"):
                found.add(target)
                todo.append(target)
    return {path.relative_to(ROOT).as_posix() for path in found}


def room(file: Path) -> str:
    return file.relative_to(ROOT / "lrcr").parts[0].removesuffix(".py")


LIBRARY = sorted((ROOT / "lrcr").rglob("*.py"))


@pytest.mark.parametrize("file", LIBRARY, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_imports_go_one_way(file):
    level = {name: number for number, names in enumerate(ORDER) for name in names}
    own = room(file)
    if own == "__init__":
        return
    for module in imported_modules(file):
        target = file_of(module)
        if target and room(target) != "__init__":
            assert level[room(target)] <= level[own], f"{file} imports {module}"


@pytest.mark.parametrize("file", LIBRARY, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_only_the_cli_knows_the_terminal(file):
    outside = {module.split(".")[0] for module in imported_modules(file)} & TERMINAL
    assert not outside or room(file) == "cli"


@pytest.mark.parametrize("file", LIBRARY, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_the_library_prints_nothing_and_unpickles_nothing(file):
    calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)}
    assert not calls & {"print", "eval", "exec", "pickle.load", "pickle.loads"}


def stages() -> dict[str, dict]:
    defined = YAML(typ="safe", pure=True).load((ROOT / "dvc.yaml").read_text())["stages"]
    return {name: stage.get("do", stage) for name, stage in defined.items()}


@pytest.mark.parametrize("name", stages())
def test_each_stage_lists_what_it_imports(name):
    stage = stages()[name]
    script = f"{stage['cmd'].split()[2].replace('.', '/')}.py"
    listed = {dep for dep in stage["deps"] if dep.startswith("lrcr/")}
    needed = {
        file
        for file in closure(ROOT / script)
        if file not in ALWAYS and not (file.endswith("__init__.py") and not (ROOT / file).read_text().count("import"))
    }
    uncovered = {file for file in needed if not any(file == dep or file.startswith(f"{dep}/") for dep in listed)}
    idle = {dep for dep in listed if not any(file == dep or file.startswith(f"{dep}/") for file in needed)}
    assert not uncovered, f"dvc.yaml: {name}: add {sorted(uncovered)} to deps"
    assert not idle, f"dvc.yaml: {name}: {sorted(idle)} are not imported"
    assert script in stage["deps"] or name == "check"


def test_what_decides_a_model_reruns_its_training():
    sections = {param for param in stages()["train"]["params"] if not param.startswith("data.")}
    assert sections == set(MODEL_SECTIONS)
