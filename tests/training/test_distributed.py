"""Training by several processes: `torchrun` on the stage gives what one process gives."""

import os
import subprocess
import sys
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

STAGE = Path(__file__).parents[2] / "stages/train.py"
SMALL = (
    *("datasets.photos={kind: folder, path: photos}", "data.train=photos", "data.val=photos"),
    *("backbone.skip_layers=3", "whitening.dim=8", "whitening.images=12", "whitening.descriptors=60"),
    *("train.epochs=2", "train.queries=7", "train.pool=11", "train.negatives=2", "train.batch=4"),
    *("train.image_size=32", "train.rates.backbone=1e-3", "train.rates.context=1e-2", "train.warmup=1"),
)
ASMK = ("train.losses.asmk=1", "train.losses.words=4")
KINDS = {
    "local": ("smoothing.kind=learnable", "graph.kind=gcn", "graph.width=8", "train.freeze=backbone", *ASMK),
    "solar": ("model.name=solar",),
    "apgem": ("model.name=apgem", "train.apgem.batch=8", "train.apgem.chunk=3"),
    "cfcd": ("model.name=cfcd", *("train.cfcd.batch=16", "train.cfcd.fine_epochs=1", "train.cfcd.rate=0.01")),
}


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    """A file of weights, with which BatchNorm is frozen."""
    path = tmp_path_factory.mktemp("weights") / "trunk.npz"
    trunk = build_model(load_params(overrides=["backbone.weights=none", *SMALL])).backbone.trunk
    np.savez(path, **{name: tensor.numpy() for name, tensor in trunk.state_dict().items()})
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory, draw_dataset) -> Path:
    """Eleven landmarks with two photos each, two of which will be held out."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    return draw_dataset(folder, [(48, 36)] * 22, [f"landmark {i % 11}" for i in range(22)])


@pytest.fixture
def project(tmp_path, photos) -> Path:
    """A folder in which the stage can run: the dataset `photos` is made."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/photos").symlink_to(photos)
    return tmp_path


def torchrun(project: Path, params: Params, processes: int = 2) -> subprocess.CompletedProcess[str]:
    with (project / "params.yaml").open("w") as file:
        YAML().dump(params.model_dump(mode="json"), file)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), str(STAGE)]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"})


def curve(project: Path, name: str) -> list[float]:
    rows = (project / f"metrics/training/plots/metrics/{name}.tsv").read_text().splitlines()[1:]
    return [float(row.split("\t")[1]) for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_give_the_curves_and_the_weights_of_one(project, photos, pretrained, kind, state):
    params = load_params(overrides=[*SMALL, f"backbone.weights={pretrained}", *KINDS[kind]])
    alone = []
    train(params, photos, None, project / "alone.pt", log=alone.append)
    done = torchrun(project, params)
    assert done.returncode == 0, done.stderr
    for name in alone[-1]:
        expected, given = [values[name] for values in alone], 0 if name == "loss" else 1e-4
        np.testing.assert_allclose(curve(project, name), expected, rtol=1e-4, atol=given, err_msg=name)
    assert open_model(project / "data/model.pt")[1] == open_model(project / "alone.pt")[1]
    assert not list(state.iterdir())


class Killed(BaseException):
    """As a signal: no `except Exception` catches it."""


@pytest.mark.slow
def test_two_processes_continue_what_one_has_begun(project, photos, pretrained, state):
    params = load_params(overrides=[*SMALL, f"backbone.weights={pretrained}", "model.name=gem", "train.epochs=3"])
    alone = []
    train(params, photos, None, project / "alone.pt", log=alone.append)

    def die(values):
        raise Killed

    with pytest.raises(Killed):
        train(params, photos, None, project / "begun.pt", log=die)
    done = torchrun(project, params)
    assert done.returncode == 0, done.stderr
    assert "epoch 1 " not in done.stderr and "epoch 2 " in done.stderr
    np.testing.assert_allclose(curve(project, "loss"), [values["loss"] for values in alone], rtol=1e-4)
    assert not list(state.iterdir())


def test_a_batch_that_cannot_be_shared_evenly_is_refused_in_one_line(project, pretrained):
    done = torchrun(project, load_params(overrides=[*SMALL, f"backbone.weights={pretrained}", "train.batch=3"]))
    assert done.returncode != 0 and "Traceback" not in done.stderr.split("ChildFailedError")[0].split("error: ")[0]
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert told == ["error: train.batch: 3 cannot be shared evenly by 2 ranks; give a multiple"]
    assert not (project / "data/model.pt").exists()


@pytest.mark.slow
def test_what_one_rank_meets_is_told_in_its_line(project, draw_dataset, pretrained):
    (project / "data/photos").unlink()
    folder = draw_dataset(project / "data/photos", [(48, 36)] * 22, [f"landmark {i % 11}" for i in range(22)])
    (folder / "images/5.png").write_bytes(b"text")
    settings = (f"backbone.weights={pretrained}", "model.name=gem", "train.pool=22")
    done = torchrun(project, load_params(overrides=[*SMALL, *settings]))
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert any("5.png: not an image of a known format" in line for line in told)
    assert all("5.png" in line or "lost another rank" in line for line in told)
    assert not (project / "data/model.pt").exists()


@pytest.fixture
def rank_0_of_3(monkeypatch):
    """The environment of a process that torchrun has started."""
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("rank_0_of_3")
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("train.batch=4",), "train.batch: 4 cannot be shared evenly by 3 ranks; give a multiple"),
        (
            ("model.name=cfcd", "train.cfcd.batch=33"),
            "train.cfcd.batch: 33 in tuples of 8 cannot be shared",
        ),
        (("model.name=cfcd", "train.cfcd.batch=16", "train.cfcd.fine_epochs=0"), "train.cfcd.batch: 16 cannot be"),
        (("model.name=apgem", "backbone.weights=none"), "backbone.weights: a trunk from nothing trains its BatchNorm"),
        (("train.batch=6", "backbone.weights=none"), "backbone.weights: a trunk from nothing trains its BatchNorm"),
    ],
)
def test_what_ranks_cannot_share_is_refused(tmp_path, photos, overrides, message):
    with pytest.raises(ParamsError, match=f"^{message}"):
        train(load_params(overrides=[*SMALL, *overrides]), photos, None, tmp_path / "model.pt")


@pytest.mark.usefixtures("rank_0_of_3")
def test_what_does_not_train_is_not_done_by_several_ranks(capsys):
    with pytest.raises(SystemExit) as ended:
        run_stage(lambda params: pytest.fail("it ran"))
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: torchrun: 3 ranks, but only stages.train can share its work")
