"""The command `lrcr` in processes of its own; all other tests run it in theirs."""

import json
import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import typer.main

from lrcr.cli.main import app
from lrcr.evaluation.per_query import write_per_query
from lrcr.retrieval.layout import MODEL

from .command import ONE_WORD, SMALL, refuse, run


def start(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "lrcr.cli.main", *map(str, arguments)]
    given = {**os.environ, "COLUMNS": "100", **environment}
    return subprocess.run(command, env=given, capture_output=True, text=True)


def imported_by(done: subprocess.CompletedProcess) -> set[str]:
    """The modules that a process started with `PYTHONPROFILEIMPORTTIME` has imported."""
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


def test_help_lists_all_commands_and_imports_no_torch():
    done = start("--help", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    commands = [*typer.main.get_command(app).commands]
    lines = done.stdout.partition("Commands")[2].splitlines()
    assert [line.split()[1] for line in lines if line[:1] == "│" and line[2:3].islower()] == commands
    imported = imported_by(done)
    assert "lrcr.cli.searching" in imported
    assert not imported & {"torch", "numba", "faiss", "pandas", "matplotlib", "dvc", "dvclive"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("index", "photos", "-o", "my.index", "--set", "smoothing.kernel=4"),
        ("index", "photos", "-o", "my.index", "--set", "search.alpha=2"),
        ("evaluate", "photos", "--model", "model.pt", "--set", "backbone.stride=8"),
        ("train", "photos", "-o", "model.pt", "--recipe", "none"),
        ("search", "no.index", "query.jpg"),
        ("plot", "maps", "photo.jpg", "--model", "model.pt", "-o", "maps.png", "--at", "1"),
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_wrong_arguments_are_refused_before_torch_is_imported(arguments):
    done = start(*arguments, PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 2 and "error: " in done.stderr
    imported = imported_by(done)
    assert "lrcr.cli.main" in imported or "lrcr.cli.searching" in imported
    assert not imported & {"torch", "torchvision", "timm"}


@pytest.mark.parametrize("what", ["inspect", "inspect a model", "verify", "compare"])
def test_commands_that_run_no_network_import_no_torch(index, tmp_path, what):
    landmarks = pd.DataFrame({"query": [0, 1], "landmark": ["a", "b"]})
    write_per_query(tmp_path / "ap.csv", landmarks.assign(easy=50.0, medium=np.array([20.0, 80.0]), hard=np.nan))
    given = {"compare": (tmp_path / "ap.csv", tmp_path / "ap.csv"), "inspect a model": (index / MODEL,)}
    done = start(what.split()[0], *given.get(what, (index,)), PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0 and done.stdout
    imported = imported_by(done)
    assert "lrcr.cli.main" in imported or "lrcr.cli.searching" in imported
    assert not imported & {"torch", "torchvision", "timm"}


COMPILE_THEN_EVALUATE = """
import contextlib, sys
from lrcr.cli.main import main

def signatures():
    modules = [module for name, module in sys.modules.items() if name.startswith("lrcr.")]
    values = [value for module in modules for value in vars(module).values()]
    functions = [*values, *(getattr(value, "__wrapped__", None) for value in values)]
    return {f"{f.__name__}{types}" for f in functions for types in getattr(f, "signatures", ())}

def run(*arguments):
    sys.argv = ["lrcr", *arguments]
    with contextlib.suppress(SystemExit):
        main()

run("compile")
before = signatures()
run("evaluate", *PHOTOS)
print(len(before), sorted(signatures() - before))
"""


def test_after_lrcr_compile_an_evaluation_compiles_nothing(photos):
    script = COMPILE_THEN_EVALUATE.replace("PHOTOS", str([str(photos), *SMALL]))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    number, _, compiled_later = done.stdout.splitlines()[-1].partition(" ")
    assert int(number) > 5 and compiled_later == "[]", done.stdout + done.stderr


def test_results_go_to_standard_output_and_progress_to_standard_error(photos, index, tmp_path):
    query = photos / "images/2/1.png"
    done = start("search", index, query, "--top", 3, "--plot-matches", tmp_path / "matches.png", "--json", *ONE_WORD)
    assert done.returncode == 0
    assert json.loads(done.stdout)[0]["image"] == "2/1.png"
    assert "match results" in done.stderr and "3/3" in done.stderr
    assert done.stdout == run("search", index, query, "--top", 3, "--json", *ONE_WORD)[1]


@pytest.mark.parametrize("given", ["0", "x"])
def test_a_wrong_number_of_threads_is_refused(given, monkeypatch):
    monkeypatch.setenv("LRCR_THREADS", given)
    assert refuse("bench", "index") == f"LRCR_THREADS: '{given}' is not a number of threads; give 1 or more"


def test_an_error_is_one_line_and_exit_code_2():
    done = start("init", "--recipe", "none")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {refuse('init', '--recipe', 'none')}\n"
