"""Several workers share the shards of an extraction; the result is that of one."""

import multiprocessing
import os
import signal
from functools import partial
from pathlib import Path

import pytest

from lrcr.config.reading import load_params
from lrcr.errors import ArtifactError, ImageError, LrcrError, ParamsError
from lrcr.features.extraction import Extractor, extract_dataset
from lrcr.models.factory import MODEL_SECTIONS, build_model, save_model
from lrcr.progress import Progress, SILENT
from lrcr.runtime.executor import make_shards
from lrcr.storage.artifacts import Manifest

PARAMS = load_params(
    overrides=[
        *("backbone.skip_layers=3", "backbone.weights=none", "whitening.dim=8", "extract.image_size=320"),
        *("extract.scales=[1.0, 0.7, 0.5]", "extract.max_descriptors=20", "extract.shard_size=1"),
    ]
)


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def model_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.pt"
    save_model(path, build_model(PARAMS), Manifest("model", PARAMS.sections(*MODEL_SECTIONS), {}))
    return path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, draw_dataset) -> Path:
    """A dozen photos, of six landmarks, each a query."""
    return draw_dataset(tmp_path_factory.mktemp("data") / "dozen", [(320, 240)] * 12, [f"{i % 6}" for i in range(12)])


@pytest.fixture(scope="module")
def alone(tmp_path_factory, model_file, dataset) -> Path:
    """What one process makes."""
    folder = tmp_path_factory.mktemp("out") / "alone"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRCR_STATE", str(tmp_path_factory.mktemp("state")))
        extract_dataset(PARAMS, model_file, dataset, folder)
    return folder


def test_two_workers_make_what_one_makes(tmp_path, monkeypatch, model_file, dataset, alone, state):
    monkeypatch.setenv("LRCR_WORKERS", "2")
    steps = []

    def progress.over(items, description, total=None):
        steps.append((description, total))
        return items

    extract_dataset(PARAMS, model_file, dataset, tmp_path / "out", progress)
    assert files(tmp_path / "out") == files(alone)
    assert steps == [("extract database", 12), ("extract queries", 12)]
    assert not list(state.iterdir()) and not multiprocessing.active_children()


def test_when_a_worker_is_killed_the_next_run_finds_its_and_the_others_shards(
    tmp_path, monkeypatch, model_file, dataset, alone, state
):
    monkeypatch.setenv("LRCR_WORKERS", "2")

    def kill_a_worker(items, description, total=None):
        for step, item in enumerate(items):
            if step == 1:
                os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
            yield item

    with pytest.raises(LrcrError, match=r"^LRCR_WORKERS: one of 2 was killed .*; the same command continues$"):
        extract_dataset(PARAMS, model_file, dataset, tmp_path / "out", kill_a_worker)
    assert not (tmp_path / "out").exists() and not multiprocessing.active_children()
    left = {file: file.stat().st_mtime_ns for file in state.rglob("shard-*.h5")}
    assert left
    monkeypatch.delenv("LRCR_WORKERS")
    extract_dataset(PARAMS, model_file, dataset, tmp_path / "out")
    assert files(tmp_path / "out") == files(alone)
    for file, written in left.items():
        assert (tmp_path / "out/database" / file.name).stat().st_mtime_ns == written
    assert not list(state.iterdir())


def test_what_a_worker_refuses_is_told(tmp_path, monkeypatch, model_file, draw_dataset):
    monkeypatch.setenv("LRCR_WORKERS", "2")
    folder = draw_dataset(tmp_path / "data", [(40, 30)] * 4, [None] * 4)
    (folder / "images" / "2.png").write_bytes(b"text")
    with pytest.raises(ImageError, match=r"2\.png"):
        extract_dataset(PARAMS, model_file, folder, tmp_path / "out")
    assert not multiprocessing.active_children()


def test_a_model_that_workers_cannot_open_is_told(tmp_path, monkeypatch, model_file):
    monkeypatch.setenv("LRCR_WORKERS", "2")
    lost = tmp_path / "lost.pt"
    lost.write_bytes(model_file.read_bytes())
    make = partial(print, Extractor(PARAMS, lost))
    lost.unlink()
    with pytest.raises(ArtifactError, match=r"lost\.pt"):
        make_shards(make, range(12), 1, tmp_path, ".h5", SILENT, "try")
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("number", ["0", "-1", "two", "1.5"])
def test_a_wrong_number_of_workers_is_refused(tmp_path, monkeypatch, model_file, dataset, number):
    monkeypatch.setenv("LRCR_WORKERS", number)
    with pytest.raises(ParamsError, match=f"^LRCR_WORKERS: '{number}' is no number of processes; give 1 or more$"):
        extract_dataset(PARAMS, model_file, dataset, tmp_path / "out")
