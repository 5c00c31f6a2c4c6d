"""README.md and docs/: links lead somewhere, commands and params exist, what is made from the code is up to date."""

import ast
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
import typer

from lrcr.cli.main import app
from lrcr.cli.reference import find_commands, write_reference
from lrcr.config.reading import load_params
from lrcr.config.recipes import recipe_names
from lrcr.errors import ParamsError

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
USAGE = "docs/commands.md"
"""Made from the commands; it has usage lines, which are no commands."""

REFUSED = {"model.name=rms", "smoothing.kernel=4"}
"""Params in examples: of a model that a page shows how to add, and of an error."""

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
COMMANDS = {context.info_name: context for context in find_commands(typer.main.get_command(app), "lrcr")}


def without_code(text: str) -> str:
    """The text of a page without blocks and spans of code."""
    text = FENCE.sub("", text)
    text = "\n".join(line for line in text.splitlines() if not line.startswith("    "))
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path, text: str) -> list[str]:
    """The links of a page that lead nowhere."""
    found = []
    for link in LINK.findall(without_code(text)):
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        if not link.startswith("http") and (not target.exists() or (anchor and anchor not in anchors(target))):
            found.append(link)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    assert not broken(ROOT / name, (ROOT / name).read_text())


def test_broken_links_are_found():
    text = "[a](docs/no.md) [b](docs/photos.md#no) [c](#no) [d](docs/photos.md#index-and-search)"
    text += " `[e](no.md)`\n\n    [f](no)"
    assert broken(ROOT / "README.md", text) == ["docs/no.md", "docs/photos.md#no", "#no"]


def test_every_page_can_be_reached():
    """From README.md, by links."""
    todo, reached = {ROOT / "README.md"}, set()
    while todo:
        page = todo.pop()
        reached.add(page)
        links = (page.parent / link.partition("#")[0] for link in LINK.findall(without_code(page.read_text())))
        todo |= {path.resolve() for path in links if path.suffix == ".md" and path.exists()} - reached
    assert not {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")} - {
        path.relative_to(ROOT).as_posix() for path in reached
    }


class Code(NamedTuple):
    """A command in the documentation, and whether it is a whole line in a block of code, not a mention in a text."""

    words: list[str]
    whole: bool


def commands(text: str) -> Iterator[Code]:
    """The commands of a page, in blocks and in spans of code."""
    blocks = [textwrap.dedent(match[3]) for match in FENCE.finditer(text) if match[2] != "python"]
    text = FENCE.sub("", text)
    blocks += re.findall(r"(?:^ {4}.*\n?)+", text, re.MULTILINE)
    for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
        for part in line.split(" && "):
            yield from (Code(words, True) for words in split(part.strip().removeprefix("$ ")))
    for span in re.findall(r"`([^`\n]+)`", text):
        yield from (Code(words, False) for words in split(span))


def split(line: str) -> Iterator[list[str]]:
    """The words of a line, if it is one of the commands that are checked."""
    if re.match(r"(\w+=\S+ )*(lrcr|make|dvc exp run|python -m) ", line):
        words = shlex.split(line, comments=True)
        yield [word for place, word in enumerate(words) if place or "=" not in word]


def wrong(code: Code) -> str | None:
    """What is wrong with a command; None if nothing is."""
    words = code.words
    if words[0] == "make":
        return None if words[1] in TARGETS or "/" in words[1] else "no such target"
    if words[0] == "python":
        names = words[3:] if words[2] == "benchmarks" else []
        modules = [words[2], *(f"benchmarks.{name}" for name in names)]
        return None if all(map(is_module, modules)) else "no such module or benchmark"
    if words[0] == "dvc":
        return wrong_experiments([value for option, value in pairwise(words) if option == "-S"])
    return wrong_command(words, code.whole)


def is_module(name: str) -> bool:
    """Whether a module of this project, or of another one, exists; folders of tests have the names of some of ours."""
    file = ROOT / name.replace(".", "/")
    if (ROOT / name.partition(".")[0]).is_dir():
        return file.with_suffix(".py").is_file() or file.is_dir()
    return find_spec(name) is not None


def wrong_command(words: list[str], whole: bool) -> str | None:
    name = next((name for name in COMMANDS if words[: len(name.split())] == name.split()), None)
    if name is None:
        groups = {" ".join(name.split()[:-1]) for name in COMMANDS} | {"lrcr --help"}
        return None if " ".join(words) in groups and not whole else "no such command"
    context, given = COMMANDS[name], words[len(name.split()) :]
    if not whole:
        options = {option for param in context.command.get_params(context) for option in param.opts}
        return f"no {given}" if {word for word in given if word.startswith("-")} - options else None
    try:
        values, rest, _ = context.command.make_parser(context).parse_args(list(given))
    except Exception as error:  # of click, which Typer may bring along under another name
        return str(error)
    required = {param.name for param in context.command.params if param.required}
    missing = {name for name in required if not isinstance(values.get(name), str | list | tuple)}
    if rest or missing:
        return f"unexpected {rest}, without {missing}"
    recipe = values.get("recipe")
    return refusal(values.get("overrides") or [], recipe if isinstance(recipe, str) and recipe != "NAME" else None)


def refusal(overrides: list[str], recipe: str | None = None, file: Path | None = None) -> str | None:
    """What is wrong with some params."""
    try:
        load_params(file, [override for override in overrides if override not in REFUSED], recipe)
    except ParamsError as error:
        return str(error)
    return None


def wrong_experiments(overrides: list[str]) -> str | None:
    """What is wrong with a queue, of which each `key=1,2,3` is a list: it changes params.yaml, or a recipe's."""
    lists = [[f"{key}={value}" for value in values.split(",")] for key, values in map(halves, overrides)]
    for number in range(max(map(len, lists))):
        chosen = [values[min(number, len(values) - 1)] for values in lists]
        reason = refusal(chosen, file=ROOT / "params.yaml")
        if reason and all(refusal(chosen, name) for name in recipe_names()):
            return reason
    return None


def halves(override: str) -> tuple[str, str]:
    key, _, values = override.partition("=")
    return key, values


@pytest.mark.parametrize("name", [name for name in NAMES if name != USAGE])
def test_commands_exist(name):
    found = {" ".join(code.words): wrong(code) for code in commands((ROOT / name).read_text())}
    assert not {command: reason for command, reason in found.items() if reason}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("    lrcr find a b\n", "no such command"),
        ("    lrcr search a b --shoot c.png\n", "--shoot"),
        ("    lrcr remove a\n", "without"),
        ("    lrcr verify a b\n", "unexpected"),
        ("    lrcr search a \\\n        b --set search.no=1\n", "search.no"),
        ("    lrcr init --recipe no\n", "no"),
        ("`lrcr search --shoot`", "--shoot"),
        ("    dvc exp run -S smoothing.kernel=5,6\n", "smoothing.kernel"),
        ("    make cake\n", "target"),
        ("    python -m lrcr.cake\n", "module"),
        ("    python -m benchmarks cake\n", "benchmark"),
        ("    cd a && lrcr find\n", "no such command"),
    ],
)
def test_wrong_commands_are_found(text, reason):
    [code] = commands(text)
    assert reason in wrong(code)


@pytest.mark.parametrize(
    "text", ["    lrcr search a b --top 3  # c d\n", "`lrcr search`", "lrcr is\n", "`LRCR_X=4 make test`"]
)
def test_right_commands_pass(text):
    assert not [reason for code in commands(text) if (reason := wrong(code))]


@pytest.mark.parametrize("name", NAMES)
def test_programs_import_what_there_is(name):
    for match in FENCE.finditer((ROOT / name).read_text()):
        if match[2] == "python":
            tree = ast.parse(re.sub(r"^return ", "", textwrap.dedent(match[3])))
            for node in ast.walk(tree):
                if isinstance(node, ast.ImportFrom):
                    assert not [each.name for each in node.names if not hasattr(import_module(node.module), each.name)]


def test_the_reference_of_commands_is_up_to_date():
    assert (ROOT / USAGE).read_text() == write_reference(), f"run: python -m lrcr.cli.reference > {USAGE}"


def test_the_site_is_built_without_warnings_and_asks_no_other_host(tmp_path):
    """Scripts, styles, fonts and pictures are the site's own."""
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert built.returncode == 0, built.stdout + built.stderr
    pages = sorted((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(NAMES)
    loaded = re.compile(r"<(?:script|img|source|iframe)\b[^>]*\bsrc=[\"']?https?:|<link\b[^>]*\bhref=[\"']?https?:")
    for file in pages:
        assert not loaded.findall(file.read_text()), file
    for file in (tmp_path / "site").rglob("*.css"):
        assert not re.findall(r"url\([\"']?https?:|@import", file.read_text()), file
