"""Look-alikes of public benchmarks from download to evaluation."""

from pathlib import Path

import pytest
from PIL import Image

from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.evaluation.evaluate import evaluate_dataset
from lrcr.features.extraction import extract_dataset, extract_fit
from lrcr.report.dataset import report_dataset
from lrcr.retrieval.build import index_dataset
from lrcr.retrieval.codebook import make_codebook
from lrcr.training.train import train

from .benchmarks import build

SMALL = (
    *("backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none", "backbone.crop_border=0"),
    "smoothing.kind=average",
    "whitening.dim=16",
    "whitening.max_descriptors=50",
    "train.epochs=0",
    "train.image_size=64",
    "extract.image_size=96",
    "extract.scales=[1.0]",
    "extract.max_descriptors=40",
    "codebook.words=12",
    "codebook.max_descriptors=40",
    "codebook.images=12",
)


def run(tmp_path: Path, name: str, fit: str, params: Params | None = None) -> dict:
    """Everything from the datasets `name` and `fit` to the metrics and the report."""
    params = params or load_params(overrides=SMALL)
    work = tmp_path / f"work of {name}"
    train(params, tmp_path / fit, None, work / "model.pt")
    extract_dataset(params, work / "model.pt", tmp_path / name, work / "descriptors")
    extract_fit(params, work / "model.pt", tmp_path / fit, work / "fit")
    make_codebook(params, work / "fit", work / "codebook")
    inputs = (tmp_path / name, work / "descriptors", work / "codebook", work / "index")
    index_dataset(params, work / "model.pt", *inputs)
    result = evaluate_dataset(params, tmp_path / name, work / "descriptors", work / "index")
    result.ranking.save(work / "ranking.parquet")
    report = (tmp_path / name, work / "descriptors", work / "index", work / "ranking.parquet", work / "report")
    report_dataset(params, *report)
    with Image.open(work / "report" / "rankings.png") as image:
        image.load()
    return result.metrics


@pytest.mark.parametrize("name", ["roxford5k", "rparis6k"])
def test_revisited(published, tmp_path, name):
    build(tmp_path, name)
    metrics = run(tmp_path, name, name)
    assert metrics["queries"] == 3
    assert metrics["map"]["medium"] > 60  # images of one landmark have blocks of the same colours


def test_revisited_with_distractors(published, tmp_path):
    build(tmp_path, "roxford5k")
    build(tmp_path, "roxford5k", "roxford5k-1m", distractors=True)
    plain, larger = run(tmp_path, "roxford5k", "roxford5k"), run(tmp_path, "roxford5k-1m", "roxford5k")
    assert plain["queries"] == larger["queries"] == 3
    assert larger["map"]["medium"] <= plain["map"]["medium"]


def test_sfm120k_pretrains_trains_and_validates(published, tmp_path):
    build(tmp_path, "sfm120k", "train", split="train")
    build(tmp_path, "sfm120k", "eccv", split="val_eccv20")
    tuples = ("train.tuples.queries_per_epoch=4", "train.tuples.negative_pool=16", "train.tuples.negatives=2")
    pretrain = "train.pretrain={epochs: 1, batch_size: 8, crop_size: 32}"
    params = load_params(overrides=[*SMALL, "train.epochs=1", pretrain, *tuples, "train.validation.every=1"])
    logged = []
    train(params, tmp_path / "train", tmp_path / "eccv", tmp_path / "model.pt", log=logged.append)
    assert [values["epoch"] for values in logged] == [1, 1, 2], "the clusters are the classes of pretraining"
    assert "validation_map" not in logged[0]
    assert all(0 < values["validation_map"] <= 100 for values in logged[1:])
    assert run(tmp_path, "eccv", "train")["queries"] == 3


def test_google_landmarks_has_map_at_100(published, tmp_path):
    build(tmp_path, "gldv2", "train", split="train")
    build(tmp_path, "gldv2", "private", split="private")
    metrics = run(tmp_path, "private", "train")
    assert metrics["queries"] == 2
    assert metrics["map@100"] > 60
    build(tmp_path, "roxford5k")
    assert "map@100" not in run(tmp_path, "roxford5k", "train")
