"""The files of the package that a module imports, and a hash of their contents."""

import ast
from functools import cache
from pathlib import Path

from lrcr.storage.artifacts import fingerprint, hash_file

PACKAGE = Path(__file__).parents[1]


@cache
def imported_modules(file: Path) -> frozenset[str]:
    """Every module that a Python file imports, at its top or inside a function; for `from a import b` also `a.b`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def module_file(module: str) -> Path | None:
    """The file of a module of this package; None for modules of other packages."""
    name, *rest = module.split(".")
    if name != PACKAGE.name:
        return None
    path = PACKAGE.joinpath(*rest)
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def imported_files(file: Path) -> set[Path]:
    """The files of this package that a Python file imports, directly or through others."""
    found: set[Path] = set()
    todo = [file]
    while todo:
        files = {module_file(module) for module in imported_modules(todo.pop())}
        new = {imported for imported in files if imported is not None} - found
        found |= new
        todo += new
    return found


@cache
def source_fingerprint(module: str) -> str:
    """A hash of the source of a module of this package and of all that it imports from the package."""
    file = module_file(module)
    assert file is not None, f"{module} is not a module of this package"
    sources = {file, *imported_files(file)}
    return fingerprint({str(source.relative_to(PACKAGE)): hash_file(source) for source in sources})
