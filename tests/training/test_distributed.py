"""Training by several processes: `torchrun` on the stage gives what one process gives."""

import os
import runpy
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from lrcr.cli.terminal import run_stage
from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.errors import ParamsError
from lrcr.models.factory import build_model, open_model
from lrcr.training.train import train

from .small import SMALL, Killed, WorseStart, kill_after

STAGE = Path(__file__).parents[2] / "stages/train.py"
PIPELINE = (
    *SMALL,
    *("datasets.photos={kind: folder, path: photos}", "data.train=photos", "data.val=photos"),
    *("train.tuples.queries_per_epoch=7", "train.tuples.negative_pool=11", "train.tuples.batch_size=4"),
    *("train.tuples.learning_rates.context=1e-2", "train.tuples.warmup_steps=1"),
)
KINDS = {
    "local": (
        *("smoothing.kind=learnable", "graph.kind=gcn", "graph.width=8", "train.freeze=backbone"),
        *("train.tuples.losses.asmk=1", "train.tuples.losses.words=4"),
        *("train.tuples.losses.soft_words=3", "train.tuples.negatives=1", "train.tuples.validation_pairs=4"),
    ),
    "solar": ("model.name=solar",),
    "apgem": (
        *("model.name=apgem", "train.listwise.batch_size=8", "train.listwise.chunk_size=3"),
        "train.listwise.learning_rates={backbone: 1e-3, context: 1e-2}",
    ),
    "cfcd": (
        *("model.name=cfcd", "train.classification.batch_size=16", "train.classification.fine_epochs=1"),
        "train.classification.learning_rate=0.01",
    ),
    "pretraining": (
        *("backbone.weights=none", "train.epochs=1", "train.pretrain.learning_rate=0.01"),
        *("train.pretrain.epochs=2", "train.pretrain.batch_size=6", "train.pretrain.crop_size=24"),
    ),
}
OTHERS = {
    "continued": ("model.name=gem", "train.epochs=3"),
    "broken": ("model.name=gem", "train.tuples.negative_pool=22"),
}
_PATIENCE = 300  # seconds


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    """A file of weights, with which BatchNorm is frozen."""
    path = tmp_path_factory.mktemp("weights") / "trunk.npz"
    trunk = build_model(load_params(overrides=PIPELINE)).backbone.trunk
    np.savez(path, **{name: tensor.numpy() for name, tensor in trunk.state_dict().items()})
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory, draw_dataset) -> Path:
    """Eleven landmarks with two photos each, two of which will be held out."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    return draw_dataset(folder, [(48, 36)] * 22, [f"landmark {i % 11}" for i in range(22)])


def make_project(folder: Path, photos: Path, params: Params) -> Path:
    """A folder in which the stage can run: the dataset `photos` is made."""
    (folder / "data").mkdir(parents=True)
    (folder / "data/photos").symlink_to(photos)
    with (folder / "params.yaml").open("w") as file:
        YAML().dump(params.model_dump(mode="json"), file)
    return folder


def torchrun(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            output, errors = process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            process.terminate()  # torchrun ends its processes
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


@dataclass(frozen=True)
class Trained:
    """One kind of training, by one process and by two.

    Args:
        alone: what one process logged.
        project: where the stage was run by two.
        stderr: what they wrote on standard error.
    """

    alone: list[dict[str, float]]
    project: Path
    stderr: str

    def curve(self, name: str) -> tuple[list[int], list[float]]:
        """The steps and the values that dvclive wrote."""
        rows = (self.project / f"metrics/training/plots/metrics/{name}.tsv").read_text().splitlines()[1:]
        steps, values = zip(*(row.split("\t") for row in rows), strict=True)
        return [*map(int, steps)], [*map(float, values)]


@pytest.fixture(scope="module")
def broken(tmp_path_factory, draw_dataset) -> Path:
    """Photos of which one cannot be decoded."""
    folder = tmp_path_factory.mktemp("broken") / "photos"
    draw_dataset(folder, [(48, 36)] * 22, [f"landmark {i % 11}" for i in range(22)])
    (folder / "images/5.png").write_bytes(b"text")
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory, photos, broken, pretrained) -> dict[str, Trained]:
    """Every kind by two processes, which end the training `continued` that one process began, and fail at `broken`.

    One `torchrun` runs the stage in all folders, the failing one last: starting processes that import torch is slow.
    """
    folder = tmp_path_factory.mktemp("projects")
    params = {
        kind: load_params(overrides=[*PIPELINE, f"backbone.weights={pretrained}", *overrides])
        for kind, overrides in {**KINDS, **OTHERS}.items()
    }
    projects = {
        kind: make_project(folder / kind, broken if kind == "broken" else photos, params[kind]) for kind in params
    }
    alone: dict[str, list[dict[str, float]]] = {kind: [] for kind in params}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRCR_STATE", str(folder / "state"))
        patch.setattr("lrcr.training.train.make_validator", WorseStart)
        for kind in (*KINDS, "continued"):
            train(params[kind], photos, None, projects[kind] / "alone.pt", log=alone[kind].append)
        with pytest.raises(Killed):
            train(params["continued"], photos, None, folder / "killed.pt", log=kill_after(1))
        done = torchrun(Path(__file__).with_name("stages.py"), STAGE, *projects.values(), cwd=folder)
    assert done.returncode != 0, "the last stage fails"
    stderr = dict(part.split("\n", 1) for part in done.stderr.split(f"stage in {folder}/")[1:])
    assert set(stderr) == set(params), done.stderr
    assert len(list((folder / "state").iterdir())) == 1, "that of the stage that failed"
    return {kind: Trained(alone[kind], projects[kind], stderr[kind]) for kind in params}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_give_the_curves_and_the_weights_of_one(trained, kind):
    found = trained[kind]
    epochs = {"cfcd": [0, 1, 2, 2, 3], "pretraining": [1, 2, 2, 3]}.get(kind, [0, 1, 2])
    assert [values["epoch"] for values in found.alone] == epochs and "error: " not in found.stderr
    best = max(found.alone, key=lambda values: values.get("validation_map", 0))
    assert "loss" in best, "not the start"
    for name in found.alone[0] | found.alone[-1]:
        logged = [values for values in found.alone if name in values]
        steps, values = found.curve(name)
        assert steps == [values["epoch"] for values in logged]
        given = 0 if name == "loss" else 1e-4
        expected = [values[name] for values in logged]
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=given, err_msg=name)
    (model, manifest), (alone, expected) = (
        open_model(found.project / name) for name in ("data/model.safetensors", "alone.pt")
    )
    assert manifest == expected
    for name, tensor in alone.state_dict().items():
        np.testing.assert_allclose(model.state_dict()[name], tensor, rtol=1e-2, atol=1e-3, err_msg=name)


@pytest.mark.slow
def test_two_processes_continue_what_one_has_begun(trained):
    found = trained["continued"]
    assert "epoch 1 " not in found.stderr and "epoch 2 " in found.stderr and "epoch 3 " in found.stderr
    steps, losses = found.curve("loss")
    assert steps == [1, 2, 3]
    np.testing.assert_allclose(losses, [values["loss"] for values in found.alone if "loss" in values], rtol=1e-4)


@pytest.mark.slow
def test_an_error_of_one_rank_is_printed_in_one_line(trained):
    found = trained["broken"]
    errors = [line for line in found.stderr.splitlines() if line.startswith("error: ")]
    assert any("5.png: not an image of a known format" in line for line in errors)
    assert all("5.png" in line or "lost another rank" in line for line in errors)
    assert not (found.project / "data/model.safetensors").exists()


def be_rank(monkeypatch: pytest.MonkeyPatch, rank: int, ranks: int) -> None:
    """Set the environment of a process that torchrun has started."""
    environment = {"TORCHELASTIC_RUN_ID": "x", "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks}
    for name, value in environment.items():
        monkeypatch.setenv(name, str(value))


@pytest.fixture
def rank_0_of_3(monkeypatch):
    """The environment of the first of three processes."""
    be_rank(monkeypatch, 0, 3)


@pytest.mark.usefixtures("rank_0_of_3")
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("train.tuples.batch_size=4",),
            "train.tuples.batch_size: 4 cannot be shared evenly by 3 ranks; give a multiple",
        ),
        (
            ("model.name=cfcd", "train.classification.batch_size=33"),
            "train.classification.batch_size: 33 in tuples of 8 cannot be shared evenly by 3 ranks; give a multiple",
        ),
        (
            ("model.name=cfcd", "train.classification.batch_size=16", "train.classification.fine_epochs=0"),
            "train.classification.batch_size: 16 cannot be shared evenly by 3 ranks; give a multiple",
        ),
        (
            ("train.tuples.batch_size=3", "train.pretrain.epochs=1", "train.pretrain.batch_size=16"),
            "train.pretrain.batch_size: 16 cannot be shared evenly by 3 ranks; give a multiple",
        ),
    ],
)
def test_what_ranks_cannot_share_is_refused_before_any_work(tmp_path, overrides, message):
    params = load_params(overrides=[*PIPELINE, *overrides])
    with pytest.raises(ParamsError) as error:
        train(params, tmp_path / "is not looked at", None, tmp_path / "model.pt")
    assert str(error.value) == message


def test_the_first_rank_alone_refuses_a_batch_in_one_line(tmp_path, photos, pretrained, monkeypatch, capsys):
    """The others wait for it where the group is joined, and torchrun ends them."""
    overrides = (f"backbone.weights={pretrained}", "train.tuples.batch_size=3")
    project = make_project(tmp_path / "project", photos, load_params(overrides=[*PIPELINE, *overrides]))
    monkeypatch.chdir(project)
    be_rank(monkeypatch, 0, 2)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(STAGE), run_name="__main__")
    assert ended.value.code == 2
    message = "error: train.tuples.batch_size: 3 cannot be shared evenly by 2 ranks; give a multiple\n"
    assert capsys.readouterr().err == message
    be_rank(monkeypatch, 1, 2)
    monkeypatch.setattr("torch.distributed.init_process_group", lambda *_, **__: sys.exit("it waits"))
    with pytest.raises(SystemExit, match=r"^it waits$"):
        runpy.run_path(str(STAGE), run_name="__main__")
    assert capsys.readouterr().err == ""
    assert not (project / "data/model.safetensors").exists()


@pytest.mark.usefixtures("rank_0_of_3")
def test_other_stages_refuse_several_ranks(capsys):
    with pytest.raises(SystemExit) as ended:
        run_stage(lambda params: pytest.fail("it ran"))
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(
        "error: torchrun: 3 ranks, but only stages.train can use several; start one process"
    )
