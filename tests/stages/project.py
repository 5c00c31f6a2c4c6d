"""A copy of the project with tiny params, in which DVC really runs."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
TINY = {
    "datasets.synthetic.landmarks": 4,
    "datasets.synthetic.images": 14,
    "datasets.synthetic.distractors": 2,
    "datasets.synthetic.queries": 4,
    "datasets.synthetic-train.landmarks": 7,
    "datasets.synthetic-train.images": 21,
    "datasets.synthetic-val.landmarks": 3,
    "datasets.synthetic-val.images": 9,
    "datasets.synthetic-val.distractors": 0,
    "datasets.synthetic-val.queries": 3,
    "backbone.name": "resnet18",
    "backbone.stride": "null",
    "backbone.skip_layers": 3,
    "backbone.weights": "none",
    "whitening.dim": 16,
    "train.epochs": 1,
    "train.image_size": 64,
    "train.pretrain.epochs": 1,
    "train.tuples.queries_per_epoch": 4,
    "train.tuples.negatives": 3,
    "train.tuples.batch_size": 2,
    "train.tuples.losses.contrastive": 1.0,
    "train.validation.extract.image_size": 96,
    "train.classification.epochs": 1,
    "train.classification.fine_epochs": 1,
    "extract.image_size": 96,
    "extract.max_descriptors": 50,
    "codebook.words": 16,
    "codebook.max_descriptors": 50,
}


def common_environment() -> dict[str, str]:
    """What the fork server must have too, since numba reads it once: one thread, compiled files beside the sources."""
    given = {key: value for key, value in os.environ.items() if key != "NUMBA_CACHE_DIR"}
    return {**given, "NUMBA_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Project:
    """A git repository with the real pipeline.

    Args:
        folder: of the project.
        commands: a folder whose commands are preferred to those of the environment.
    """

    folder: Path
    commands: Path = BIN

    @property
    def state(self) -> Path:
        """Where its unfinished work is kept."""
        return self.folder.with_name(f"{self.folder.name}-state")

    @property
    def environment(self) -> dict[str, str]:
        """Of all commands."""
        identity = {"user.name": "test", "user.email": "test@example.org"}
        given = common_environment()
        for number, (key, value) in enumerate(identity.items()):
            given |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
        path = os.pathsep.join([str(self.commands), str(BIN), os.environ["PATH"]])
        own = {"PATH": path, "LRCR_STATE": str(self.state), "COLUMNS": "200"}
        return {**given, **own, "GIT_CONFIG_COUNT": str(len(identity))}

    def run(self, command: str, code: int = 0) -> str:
        """Run a command of the shell; returns standard output and error together."""
        done = subprocess.run(
            command, shell=True, cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        output = done.stdout + done.stderr
        assert done.returncode == code, output
        return output

    def dvc(self, arguments: str, code: int = 0) -> str:
        """Run DVC."""
        return self.run(f"python -m dvc {arguments}", code)

    def set(self, *overrides: str) -> None:
        """Set `key=value` in params.yaml."""
        yaml = YAML()
        params = yaml.load((self.folder / "params.yaml").read_text())
        for override in overrides:
            key, _, value = override.partition("=")
            section, last = params, key.rpartition(".")[2]
            for name in key.split(".")[:-1]:
                section = section[name]
            assert last in section, f"params.yaml has no {key}"
            section[last] = yaml.load(value)
        with (self.folder / "params.yaml").open("w") as file:
            yaml.dump(params, file)

    def changed(self) -> dict[str, Any]:
        """What `dvc status` finds to have changed, by stage."""
        return json.loads(self.dvc("status --json"))

    def commit(self) -> None:
        """Commit everything."""
        self.run("git add -A && git commit -q -m state")

    def restore(self) -> None:
        """Go back to the last commit, outputs of the stages included."""
        self.run("git checkout -q . && git clean -qfd metrics && python -m dvc checkout -q --force")

    def results(self) -> dict[str, bytes]:
        """Every file that must be equal bit for bit."""
        patterns = ("metrics/*.json", "metrics/ap/*.csv", "metrics/maps/*.json", "data/rankings/*.parquet")
        files = [*(file for pattern in patterns for file in self.folder.glob(pattern))]
        files += [*self.folder.glob("data/maps/*/*.png"), *self.folder.glob("data/report/*/*.png")]
        return {file.relative_to(self.folder).as_posix(): file.read_bytes() for file in files}

    def unfinished(self) -> list[Path]:
        """What a run that came to its end may not leave behind."""
        names = ("*.tmp", "*.old", "*.part")
        places = [self.folder / "data", self.folder / "metrics"]
        return [*self.state.glob("*"), *(file for name in names for place in places for file in place.rglob(name))]


def make_project(folder: Path, commands: Path = BIN, *, share_compiled: bool = True) -> Project:
    """Copy the project, make its params tiny and commit.

    Args:
        share_compiled: whether the copy uses, and adds to, what Python and numba have compiled of the original.
    """
    folder.mkdir()
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("stages", "lrcr", "listed"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    if share_compiled:
        _link_compiled(folder)
    project = Project(folder, commands)
    project.set(*(f"{key}={value}" for key, value in TINY.items()))
    project.run("git init -q && python -m dvc init -q && python -m dvc config core.analytics false")
    project.commit()
    return project


def _link_compiled(folder: Path) -> None:
    """Python and numba compare the date and the size of a source, which its copy has too."""
    for package in {file.parent for file in folder.rglob("*.py")}:
        compiled = ROOT / package.relative_to(folder) / "__pycache__"
        compiled.mkdir(exist_ok=True)
        (package / "__pycache__").symlink_to(compiled)


def ran(output: str) -> list[str]:
    """The stages that DVC ran, in order."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]
