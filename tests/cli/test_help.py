"""The help of each command, completion by the shell, and params by recipe and by file in the same commands."""

import inspect
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import typer.main

from lrcr.api import build_index, open_index
from lrcr.cli.main import app
from lrcr.config.recipes import recipe_names

from .command import lrcr

HEAVY = {"torch", "numba", "faiss", "pandas", "ruamel.yaml", "matplotlib", "dvc", "dvclive"}


def walk(command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Each command and group with the words that call it."""
    yield path, command
    for name, part in getattr(command, "commands", {}).items():
        yield from walk(part, (*path, name))


COMMANDS = dict(walk(typer.main.get_command(app)))
PROGRAM = "import sys; sys.argv[0] = 'lrcr'; from lrcr.cli.main import main; main()"


def start(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Run `lrcr` under its own name, by which shells complete it."""
    given = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1", **environment}
    return subprocess.run([sys.executable, "-c", PROGRAM, *arguments], env=given, capture_output=True, text=True)


def imported_by(done: subprocess.CompletedProcess) -> set[str]:
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


def test_commands_and_groups():
    top = {path[0] for path in COMMANDS if len(path) == 1}
    plain = {"init", "index", "search", "evaluate", "train", "compare", "inspect", "verify", "bench", "compile"}
    changing = {"add", "remove", "update", "sync", "merge", "compact"}
    whole = {"duplicates", "cluster", "pairs", "export"}
    assert top == {*plain, *changing, *whole, "download-model", "serve", "plot"}
    assert {path[1] for path in COMMANDS if len(path) == 2} == {"maps", "rankings"}


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "lrcr")
def test_every_help_ends_with_an_example_that_the_command_takes(path):
    last = [line.strip() for line in lrcr(*path, "--help").splitlines() if line.strip()][-1]
    assert len(last) <= 78, "wrapped on a terminal of 80 columns"
    sign, program, *words = last.split()
    assert (sign, program) == ("Example:", "lrcr") and tuple(words[: len(path)]) == path
    called = next(name for name in sorted(COMMANDS, key=len, reverse=True) if tuple(words[: len(name)]) == name)
    assert called, "an example of a group names one of its commands"
    COMMANDS[called].make_context("lrcr", words[len(called) :])


def test_an_example_with_an_unknown_option_would_be_found():
    with pytest.raises(Exception, match="No such option"):
        COMMANDS[("search",)].make_context("lrcr", ["my.index", "query.jpg", "--sheet", "a.png"])


def test_recipes_are_taken_wherever_params_are():
    options = {path: {name for each in command.params for name in each.opts} for path, command in COMMANDS.items()}
    with_params = {path for path, names in options.items() if "--params" in names}
    assert with_params == {("index",), ("search",), ("serve",), ("evaluate",), ("train",)}
    assert {path for path, names in options.items() if "--recipe" in names} == {*with_params, ("init",)}
    assert {path for path, names in options.items() if "--set" in names} == with_params


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_written_without_heavy_imports(shell):
    done = start("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0
    assert "lrcr" in done.stdout and "_LRCR_COMPLETE" in done.stdout
    assert "lrcr.cli.main" in imported_by(done) and not imported_by(done) & HEAVY


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("lrcr in", {"init", "index", "inspect"}),
        ("lrcr plot ", {"maps", "rankings"}),
        ("lrcr search --plot", {"--plot", "--plot-matches"}),
        ("lrcr index --recipe how", {name for name in recipe_names() if name.startswith("how")}),
    ],
)
def test_commands_options_and_recipes_are_completed(words, expected):
    place = str(len(words.split(" ")) - 1)
    done = start(_LRCR_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=place)
    assert set(done.stdout.split()) == expected and expected
    assert not imported_by(done) & HEAVY


def source_of(function) -> str:
    """A function with the same name, parameters and help, and no body."""
    lines = []
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        kind, info = parameter.annotation.__origin__, parameter.annotation.__metadata__[0]
        called = type(info).__name__.removesuffix("Info")
        given = [info.default] if isinstance(info.default, str) else []  # the first name, where it is not a default
        given = [repr(each) for each in (*given, *(info.param_decls or ()))]
        given += [f"{key}={getattr(info, key)!r}" for key in ("help", "metavar", "min")]
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        lines.append(
            f"    {name}: Annotated[{inspect.formatannotation(kind)}, typer.{called}({', '.join(given)})]{default},"
        )
    return "\n".join([f"def {function.__name__}(", *lines, f") -> None:\n    {function.__doc__!r}\n"])


def empty_app() -> str:
    """A program with the commands and options of `lrcr` whose functions do nothing."""
    [group] = app.registered_groups
    parts = ["import pathlib", "from typing import Annotated", "import typer"]
    for name, typed in (("app", app), ("plot", group.typer_instance)):
        info = typed.info
        parts.append(f"{name} = typer.Typer(help={info.help!r}, epilog={info.epilog!r}, no_args_is_help=True)")
        for command in typed.registered_commands:
            parts += [f"@{name}.command(epilog={command.epilog!r})", source_of(command.callback)]
    return "\n".join([*parts, f"app.add_typer(plot, name={group.name!r})", "app()"])


def measure(command: list[str]) -> tuple[subprocess.CompletedProcess, float]:
    """Run a command; its CPU seconds are those of the process and its children, in user and kernel."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["index"], 2)], ids=["help", "missing arguments"])
def test_starting_costs_at_most_half_more_than_an_empty_app(tmp_path, arguments, code):
    empty = tmp_path / "lrcr"
    empty.write_text(empty_app())
    commands = [[sys.executable, *words, *arguments] for words in (["-c", PROGRAM], [str(empty)])]
    shown = [subprocess.run(command, capture_output=True, text=True) for command in commands]
    assert [done.returncode for done in shown] == [code, code]
    assert shown[0].stdout == shown[1].stdout and shown[0].stderr == shown[1].stderr, "not the same app"
    times = [[measure(command)[1] for command in commands] for _ in range(5)]
    ours, theirs = map(min, zip(*times, strict=True))
    assert ours <= 1.5 * theirs, f"{ours:.3f} s of CPU against {theirs:.3f} s"


def describing_seconds(index) -> float:
    """CPU seconds in which the network of an index describes a photo, after a first one."""
    opened, photo = open_index(index), index.parent / "photos/images/0/0.png"
    opened.search(photo, top=1)
    before = time.process_time()
    opened.search(photo, top=1)
    return time.process_time() - before


@pytest.mark.slow
def test_a_search_costs_at_most_30_percent_more_than_its_imports(photos, tmp_path):
    """With the default trunk, beside describing the query; best of at most five."""
    shutil.copytree(photos, tmp_path / "photos")
    folder, query = tmp_path / "my.index", tmp_path / "photos/images/0/0.png"
    build_index(tmp_path / "photos", folder)
    searching = [sys.executable, "-c", PROGRAM, "search", str(folder), str(query)]
    importing = [sys.executable, "-c", "import torch, timm, numba"]
    described, ours, theirs = describing_seconds(folder), [], []
    for _ in range(5):
        done, seconds = measure(searching)
        assert (done.returncode, done.stderr) == (0, "") and "0/0.png" in done.stdout
        ours.append(seconds)
        theirs.append(measure(importing)[1])
        if min(ours) <= 1.3 * min(theirs) + described:
            return
    pytest.fail(f"{min(ours):.2f} s of CPU against {min(theirs):.2f} s for imports and {described:.2f} s for the photo")
