"""Params of the commands: a recipe, a file, single params; and what would have no effect."""

from pathlib import Path

import pytest
import torch

from lrcr.config.given import params_of_search, params_of_training, params_without_training, read_params
from lrcr.config.reading import load_params
from lrcr.errors import ParamsError
from lrcr.runtime.threads import use_threads


@pytest.fixture
def file(tmp_path) -> Path:
    (tmp_path / "params.yaml").write_text("seed: 2\nsearch: {tau: 0.1, alpha: 2.0}\nsmoothing: {kernel: 5}")
    return tmp_path / "params.yaml"


def test_single_params_count_more_than_the_file_and_the_file_more_than_the_recipe(file):
    overrides = ["search.tau=0.2", "codebook.words=3"]
    found = params_without_training(file, overrides, "lrcr-r18", None, searches=True)
    assert found == load_params(file, overrides, "lrcr-r18")
    assert (found.search.tau, found.codebook.words) == (0.2, 3)
    assert (found.seed, found.search.alpha, found.smoothing.kernel) == (2, 2.0, 5)
    assert (found.smoothing.kind, found.graph.kind) == ("learnable", "gcn")


def test_params_of_a_search(file):
    overrides = ["search.tau=0.2", "rerank=[{kind: expansion, images: 3}]"]
    search, rerank = params_of_search(file, overrides, "lrcr-r18")
    assert (search.tau, search.alpha) == (0.2, 2.0)
    assert search == load_params(file, overrides, "lrcr-r18").search
    assert [(step.kind, step.images) for step in rerank] == [("expansion", 3)]
    assert params_of_search(None, None, None) == (load_params().search, [])


def test_the_threads_of_a_command_are_those_of_its_params(monkeypatch):
    monkeypatch.setenv("LRCR_THREADS", "1")
    read = (
        lambda: read_params(None, ["threads=3"], None),
        lambda: params_of_search(None, ["threads=3"], None),
        lambda: params_without_training(None, ["threads=3"], None, None, searches=True),
    )
    try:
        for step in read:
            use_threads(1)
            step()
            assert torch.get_num_threads() == 3
    finally:
        use_threads(1)


@pytest.mark.parametrize("override", ["extract.image_size=64", "seed=1", "index.binary=false", "model.name=gem"])
def test_a_search_takes_params_of_search_only(override):
    section = override.partition("=")[0].partition(".")[0]
    said = f"^--set {override}: {section} is decided by the index; set params of search only$"
    with pytest.raises(ParamsError, match=said):
        params_of_search(None, [override], None)


@pytest.mark.parametrize(
    ("override", "model", "searches", "said"),
    [
        ("data.fit=x", None, True, "this command reads the folder in its arguments; leave data out"),
        ("datasets.x.kind=folder", None, True, "this command reads the folder in its arguments; leave datasets out"),
        ("train.epochs=3", None, True, "this command does not train; use it with `lrcr train`"),
        ("train.epochs=3", "a.pt", True, "this command does not train; use it with `lrcr train`"),
        ("search.top=3", None, False, "params of search are not stored in an index; use it with `lrcr search`"),
        ("rerank=[]", None, False, "params of rerank are not stored in an index; use it with `lrcr search`"),
        ("smoothing.kernel=5", "a.pt", True, "smoothing is decided by --model a.pt; leave one of the two out"),
        ("seed=5", "a.pt", False, "seed is decided by --model a.pt; leave one of the two out"),
    ],
)
def test_what_would_have_no_effect_is_refused(override, model, searches, said):
    file = None if model is None else Path(model)
    with pytest.raises(ParamsError) as error:
        params_without_training(None, [override], None, file, searches=searches)
    assert str(error.value) == f"--set {override}: {said}"


@pytest.mark.parametrize(
    "section", ["extract", "codebook", "index", "search", "rerank", "data", "datasets", "executor"]
)
def test_what_training_does_not_read_is_refused(section):
    with pytest.raises(ParamsError) as error:
        params_of_training(None, [f"{section}.x=1"], None)
    said = f"has no effect on training; set {section} when you index or evaluate"
    if section in ("data", "datasets"):
        said = f"this command reads the folder in its arguments; leave {section} out"
    assert str(error.value) == f"--set {section}.x=1: {said}"


def test_what_training_reads_is_taken():
    overrides = ["train.epochs=3", "smoothing.kernel=5", "seed=4", "device=cpu", "threads=1"]
    assert params_of_training(None, overrides, None) == load_params(overrides=overrides)
    with pytest.raises(ParamsError, match="smooting"):
        params_of_training(None, ["smooting.kernel=5"], None)


@pytest.mark.parametrize(
    ("override", "model", "searches"),
    [("search.top=3", "a.pt", True), ("smoothing.kernel=5", None, False), ("extract.image_size=64", "a.pt", False)],
)
def test_what_has_an_effect_is_taken(override, model, searches):
    file = None if model is None else Path(model)
    found = params_without_training(None, [override], None, file, searches=searches)
    assert found == load_params(overrides=[override])
