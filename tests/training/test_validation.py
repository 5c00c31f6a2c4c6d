import numpy as np
import pytest
import torch

from lrcr.config.reading import load_params
from lrcr.data.dataset import Dataset, cluster_ids, open_dataset
from lrcr.errors import DatasetError
from lrcr.models.factory import build_model
from lrcr.models.local import LocalModel
from lrcr.training.maps import TrunkMaps
from lrcr.training.tuples import training_set
from lrcr.training.validation import Validator, hold_out
from lrcr.training.whitening import learn_whitening

CPU = torch.device("cpu")
SMALL = (
    "backbone.skip_layers=3",
    "backbone.weights=none",
    "whitening.dim=8",
    "train.image_size=48",
    "train.validation.words=8",
    "extract.image_size=48",
    "extract.scales=[1.0]",
    "extract.descriptors=40",
    "codebook.images=10",
    "codebook.descriptors=40",
)


@pytest.fixture
def dataset(landmarks) -> Dataset:
    return open_dataset(landmarks)


def draw(tmp_path, draw_dataset, labels, **tables) -> Dataset:
    return open_dataset(draw_dataset(tmp_path / "drawn", [(16, 12)] * len(labels), labels, **tables))


@pytest.mark.parametrize("seed", range(4))
def test_held_out_landmarks_are_no_longer_trained_on(dataset, seed):
    kept, validation = hold_out(dataset, seed)
    training = training_set(dataset, kept)
    held = {photo.path for photo in validation.photos()}
    assert not held & {photo.path for photo in training.photos}
    assert len(held) + len(training.photos) == 16
    assert len(held) == 3 and validation.images["label"].nunique() == 1


def test_held_out_images_are_queries_for_each_other(dataset):
    _, validation = hold_out(dataset, 0)
    assert validation.query_photos() == validation.photos()
    graded = validation.relevance.pivot(index="query", columns="image", values="grade").to_numpy()
    assert (graded == np.where(np.eye(3, dtype=bool), "junk", "easy")).all()
    assert validation.pairs.empty


def test_the_seed_decides_what_is_held_out(dataset):
    first = [hold_out(dataset, seed)[0].tolist() for seed in range(12)]
    assert first == [hold_out(dataset, seed)[0].tolist() for seed in range(12)]
    assert len({tuple(kept) for kept in first}) > 1


def test_a_fifth_of_the_landmarks_is_held_out_and_single_images_never(tmp_path, draw_dataset):
    labels = [f"{i % 11}" for i in range(22)] + [None, "alone", None]
    dataset = draw(tmp_path, draw_dataset, labels)
    kept, validation = hold_out(dataset, 0)
    assert validation.images["label"].nunique() == 2 and len(validation.images) == 4
    ids = cluster_ids(dataset)
    assert set(ids[22:]) <= set(kept)


@pytest.mark.parametrize("labels", [[None, None], ["a", "a", "b"], [], ["a", "b", "c"]])
def test_fewer_than_two_landmarks_are_refused(tmp_path, draw_dataset, labels):
    dataset = draw(tmp_path, draw_dataset, labels)
    count = len({label for label in labels if labels.count(label) > 1} - {None})
    message = f"drawn: validation holds out landmarks, but {count} have two labelled images; label more photos"
    with pytest.raises(DatasetError, match=message):
        hold_out(dataset, 0)


def score(dataset, model, by) -> float:
    params = load_params(overrides=[*SMALL, f"train.validation.by={by}"])
    return Validator(params, model, TrunkMaps(model.backbone, 48, CPU), dataset.photos(), dataset, CPU).score()


@pytest.fixture
def model(dataset) -> LocalModel:
    params = load_params(overrides=SMALL)
    model = build_model(params)
    learn_whitening(model, TrunkMaps(model.backbone, 48, CPU), dataset.photos(), params)
    return model


@pytest.mark.parametrize("by", ["global", "asmk"])
def test_photos_that_look_alike_score_far_above_chance(dataset, model, by):
    model.train()
    found = score(dataset, model, by)
    assert not model.training
    assert isinstance(found, float) and 50 < found <= 100
    assert score(dataset, model, by) == found


@pytest.mark.parametrize("by", ["global", "asmk"])
def test_a_model_that_sees_nothing_scores_less(dataset, model, by):
    seeing = score(dataset, model, by)
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter.zero_()
    assert score(dataset, model, by) < seeing - 20


def test_a_validation_set_without_queries_is_refused(tmp_path, draw_dataset):
    dataset = draw(tmp_path, draw_dataset, [None, None])
    with pytest.raises(DatasetError) as error:
        score(dataset, build_model(load_params(overrides=SMALL)), "global")
    assert str(error.value) == "drawn: has no queries; give it labels or a ground truth, or unset data.val"


def test_queries_without_positives_are_refused(tmp_path, draw_dataset, dataset):
    without = dataset.relevance[dataset.relevance["grade"] == "junk"]
    labels = [f"landmark {i % 5}" for i in range(15)] + [None]
    blank = draw(tmp_path, draw_dataset, labels, relevance=without)
    with pytest.raises(DatasetError, match="drawn: no query has a positive; grade some images easy or hard"):
        score(blank, build_model(load_params(overrides=SMALL)), "global")
