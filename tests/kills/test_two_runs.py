"""Two runs on the same inputs at the same time: one waits for the other, also if that one is killed."""

import os
import signal
import subprocess
import sys
from glob import glob
from pathlib import Path

import pytest

from .survive import contents

pytestmark = pytest.mark.slow

SETTINGS = [
    *("backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none", "whitening.dim=8"),
    *("whitening.images=6", "extract.image_size=64", "extract.shard_size=4", "codebook.words=8"),
]


def start(photos: Path, output: Path) -> subprocess.Popen[str]:
    """Begin to index photos."""
    command = [str(Path(sys.executable).with_name("lrcr")), "index", str(photos), "--output", str(output)]
    for setting in SETTINGS:
        command += ["--set", setting]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "1000"}  # a warning is one line
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def test_two_runs_on_the_same_photos_both_end(tmp_path, landmarks, state):
    photos = landmarks / "images"
    runs = [start(photos, tmp_path / name) for name in ("one", "two")]
    said = [run.communicate(timeout=200)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], said
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert sum("another run does the same work" in text for text in said) == 1, said
    assert not [path for path in state.iterdir() if path.name != "compute"]


def test_a_run_that_waits_goes_on_where_the_other_was_killed(tmp_path, landmarks, state):
    photos = landmarks / "images"
    first = start(photos, tmp_path / "one")
    while first.poll() is None and not glob(f"{state}/*/*.h5"):  # noqa: PTH207 (a folder may go away)
        pass
    os.kill(first.pid, signal.SIGSTOP)
    second = start(photos, tmp_path / "two")
    for line in second.stdout:
        if "another run does the same work" in line:
            break
    first.kill()
    rest = second.communicate(timeout=200)[0]
    assert second.returncode == 0, rest
    assert "learn whitening" not in rest, "it was learned by the first run"
    assert not (tmp_path / "one").exists()
