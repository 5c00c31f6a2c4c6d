"""What a small DVC project of our own makes of revisions, with an experiment that DVC really ran."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lrcr.cli.revisions import read_revision
from lrcr.errors import ArtifactError

PIPELINE = """
stages:
  evaluate:
    cmd: mkdir -p metrics/ap && grep ap params.yaml > metrics/ap/small.csv
    params: [ap]
    outs: [{metrics/ap/small.csv: {cache: false}}]
"""
TWO = "metrics/ap/other.csv"


def run(folder, command):
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for number, (key, value) in enumerate({"user.name": "test", "user.email": "test@example.org"}.items()):
        environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    environment["GIT_CONFIG_COUNT"] = "2"
    done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Commits `empty`, `one` and `two` (with a second dataset), experiment `better`, and a changed working tree."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "params.yaml").write_text("ap: 1\n")
    run(folder, "git init -q && dvc init -q && dvc config core.analytics false")
    run(folder, "git add -A && git commit -qm 'state' && git tag empty && dvc repro -q")
    run(folder, "git add -A && git commit -qm 'state' && git tag one")
    run(folder, "dvc exp run -q -S ap=7 -n better && git checkout -q .")
    (folder / TWO).write_text("other\n")
    run(folder, "git add -A && git commit -qm 'state' && git tag two")
    (folder / TWO).unlink()
    (folder / "metrics/ap/small.csv").write_text("by hand\n")
    (folder / "inside").mkdir()
    return folder


@pytest.fixture(autouse=True)
def inside(project, monkeypatch):
    monkeypatch.chdir(project / "inside")


@pytest.mark.parametrize(
    ("revision", "contents"),
    [("one", b"ap: 1\n"), ("better", b"ap: 7\n"), ("two~1", b"ap: 1\n"), ("workspace", b"by hand\n")],
)
def test_the_only_evaluation_is_found(revision, contents):
    assert read_revision(revision, None) == (f"{revision}:metrics/ap/small.csv", contents)


def test_one_of_several_is_chosen_by_name():
    assert read_revision("two", "other") == ("two:metrics/ap/other.csv", b"other\n")
    assert read_revision("HEAD", "small")[1] == b"ap: 1\n"


@pytest.mark.parametrize(
    ("revision", "dataset", "said"),
    [
        ("two", None, "two: evaluates other, small; choose one with --dataset-name"),
        ("two", "third", "--dataset-name third: not evaluated in two; choose from other, small"),
        ("empty", None, r"empty: has no metrics/ap/\*.csv; run `dvc repro` there, or name another$"),
        ("nowhere", None, r"nowhere: cannot be read \(unknown Git revision 'nowhere'\); name a .csv"),
        ("HEAD:", None, r"HEAD:: cannot be read \(.*\); name a .csv"),
    ],
)
def test_what_is_not_there_is_refused(revision, dataset, said):
    with pytest.raises(ArtifactError, match=f"^{said}") as error:
        read_revision(revision, dataset)
    assert "\n" not in str(error.value)


def test_outside_of_a_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError, match="HEAD: cannot be read"):
        read_revision("HEAD", None)
    with pytest.raises(ArtifactError, match="workspace: has no"):
        read_revision("workspace", None)
