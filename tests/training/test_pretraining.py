"""Pretraining of a trunk without weights: it comes before the method, changes the trunk only, and survives a kill."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from lrcr.config.params import Params
from lrcr.data.dataset import open_dataset
from lrcr.errors import DatasetError, LrcrError, OutOfMemoryError
from lrcr.models.factory import build_model, build_pretraining_model, open_model
from lrcr.models.global_model import GlobalModel
from lrcr.models.pooling import GeM
from lrcr.training import classification, classifier, train
from lrcr.training.classification import ClassificationTrainer
from lrcr.training.crops import crop_batches
from lrcr.training.descriptors import describe_globally
from lrcr.training.phases import Phases
from lrcr.training.pretraining import pretrain
from lrcr.training.tuple_trainer import TupleTrainer
from lrcr.training.validation import hold_out

from .small import CONTEXT, Killed, copy_state, kill_after_line, make_setup, moved, run, same, small, small_global
from .small import weights as read_weights

PRETRAIN = ("train.pretrain.epochs=2", "train.pretrain.batch_size=5", "train.pretrain.crop_size=24")
STATISTICS = ("running_mean", "running_var")
COUNTERS = "num_batches_tracked"
"""They are not read from model files."""


def pretrained(*overrides: str) -> Params:
    """Params of a local model that is pretrained for two epochs, then trained on tuples for two."""
    return small(*PRETRAIN, *overrides)


def never() -> float:
    raise AssertionError("an epoch of pretraining was validated")


def make_phases(folder: Path, log: Callable[[dict[str, float]], None] = lambda values: None) -> Phases:
    return Phases(folder, never, 1, log)


@pytest.fixture
def before_tuples(monkeypatch) -> list[dict[str, torch.Tensor]]:
    """The weights before each epoch of tuples."""
    seen, run_epoch = [], TupleTrainer.run_epoch

    def note(self, epoch, first):
        seen.append(copy_state(self.setup.model))
        return run_epoch(self, epoch, first)

    monkeypatch.setattr(TupleTrainer, "run_epoch", note)
    return seen


def test_the_whole_trunk_is_trained_and_nothing_else(tmp_path, landmarks):
    params = pretrained(*CONTEXT)
    setup = make_setup(params, landmarks)
    before = copy_state(setup.model)
    pretrain(params.train.pretrain, setup, make_phases(tmp_path))
    after = setup.model.state_dict()
    assert moved(before, after) == {name for name in before if name.startswith("backbone.")}
    assert before.keys() == after.keys(), "the classifier is not part of the model"


def test_the_layer_of_the_classifier_is_drawn_by_the_seed():
    model = build_model(small())
    first, again, other = (build_pretraining_model(model, seed).projection.state_dict() for seed in (0, 0, 1))
    assert same(first, again) and moved(first, other) == {"0.weight", "0.bias"}


def test_pretraining_brings_images_of_a_label_together(tmp_path, nine):
    params = pretrained("train.pretrain={epochs: 12, batch_size: 9, crop_size: 32, min_crop_area: 0.5}")
    setup = make_setup(params, nine)

    def distance_of_pairs() -> float:
        """1 − the mean cosine of the two images of a label, relative to that of any two, of centred GeM vectors."""
        model = GlobalModel(setup.model.backbone, GeM(), torch.nn.Identity(), 64, freeze_batchnorm=True).eval()
        vectors = describe_globally(model, setup.maps, setup.images.photos)
        vectors = F.normalize(vectors - vectors.mean(dim=0), dim=1)
        cosines = vectors @ vectors.T
        return float((1 - cosines.diagonal(9).mean()) / (1 - cosines.mean()))

    before = distance_of_pairs()
    pretrain(params.train.pretrain, setup, make_phases(tmp_path))
    assert distance_of_pairs() < 0.3 * before


@pytest.mark.usefixtures("changes_rewarded")
def test_the_method_starts_from_the_last_epoch_and_freezes_batchnorm(tmp_path, landmarks, before_tuples):
    logged = run(pretrained(), landmarks, tmp_path / "model.pt")
    assert [values["epoch"] for values in logged] == [1, 2, 2, 3, 4]
    assert ["validation_map" in values for values in logged] == [False, False, True, True, True]
    assert ["loss" in values for values in logged] == [True, True, False, True, True]
    initial, final = build_model(pretrained()).state_dict(), read_weights(tmp_path / "model.pt")
    statistics = {name for name in initial if name.endswith(STATISTICS)}
    assert statistics and statistics <= moved(initial, before_tuples[0]), "pretraining trains BatchNorm"
    whitening = {"whitening.weight", "whitening.bias"}
    counters = {name for name in initial if name.endswith(COUNTERS)}
    assert moved(before_tuples[0], final) - counters == final.keys() - statistics - whitening - counters


def test_the_whitening_is_learned_once_after_pretraining(tmp_path, monkeypatch, landmarks, before_tuples):
    learned = []
    learn = train.learn_whitening
    monkeypatch.setattr(
        train, "learn_whitening", lambda model, *given: learned.append(copy_state(model)) or learn(model, *given)
    )
    run(pretrained(), landmarks, tmp_path / "model.pt")
    [at_whitening] = learned
    assert moved(at_whitening, before_tuples[0]) == {"whitening.weight", "whitening.bias"}


@pytest.mark.usefixtures("changes_rewarded")
@pytest.mark.parametrize("line", [1, 2, 3, 4])
def test_a_killed_pretraining_continues_to_the_same_weights(tmp_path, landmarks, line, state):
    whole = run(pretrained(), landmarks, tmp_path / "whole.pt")
    with pytest.raises(Killed):
        train.train(pretrained(), landmarks, None, tmp_path / "killed.pt", log=kill_after_line(line))
    assert run(pretrained(), landmarks, tmp_path / "killed.pt") == whole
    assert same(read_weights(tmp_path / "killed.pt"), read_weights(tmp_path / "whole.pt"))
    assert not list(state.iterdir())


@pytest.mark.usefixtures("changes_rewarded")
@pytest.mark.parametrize(
    ("name", "epochs"),
    [("gem", [2, 3, 4]), ("solar", [2, 3, 4]), ("apgem", [2, 3, 4]), ("cfcd", [2, 3, 4, 4, 5])],
)
def test_every_method_follows_on_pretraining(tmp_path, nine, name, epochs):
    logged = run(small_global(name, *PRETRAIN), nine, tmp_path / "model.pt", nine)
    assert [values["epoch"] for values in logged] == [1, 2, *epochs]
    assert all({"scale", "margin"} <= values.keys() and "validation_map" not in values for values in logged[:2])
    initial, final = build_model(small_global(name)).state_dict(), read_weights(tmp_path / "model.pt")
    assert initial.keys() == final.keys()
    trunk = {key for key in initial if key.startswith("backbone.") and not key.endswith(COUNTERS)}
    assert trunk <= moved(initial, final)


def test_a_frozen_trunk_is_pretrained_all_the_same(tmp_path, landmarks, caplog):
    """So `train.freeze: backbone` gives the pretrained trunk alone."""
    params = pretrained("train.freeze=backbone")
    assert len(run(params, landmarks, tmp_path / "model.pt", val=landmarks)) == 2
    assert "nothing to train" in caplog.text
    setup = make_setup(pretrained(), landmarks)
    pretrain(params.train.pretrain, setup, make_phases(tmp_path / "alone"))
    changed = moved(setup.model.state_dict(), read_weights(tmp_path / "model.pt"))
    assert {name for name in changed if not name.endswith(COUNTERS)} == {"whitening.weight", "whitening.bias"}


def test_without_epochs_nothing_is_pretrained(tmp_path, landmarks):
    assert run(pretrained("train.epochs=0"), landmarks, tmp_path / "model.pt") == []
    changed = moved(build_model(pretrained()).state_dict(), read_weights(tmp_path / "model.pt"))
    assert changed == {"whitening.weight", "whitening.bias"}


def test_a_trunk_with_weights_is_not_pretrained(tmp_path, landmarks, monkeypatch, request):
    monkeypatch.setattr(ClassificationTrainer, "run_epoch", lambda *_: pytest.fail("pretrained"))
    file = request.getfixturevalue("pretrained")
    logged = run(pretrained(f"backbone.weights={file}"), landmarks, tmp_path / "model.pt")
    assert [values["epoch"] for values in logged] == [0, 1, 2]
    assert "pretrain" not in open_model(tmp_path / "model.pt")[1].params["train"]


def test_landmarks_of_validation_are_not_pretrained_on(tmp_path, landmarks, monkeypatch):
    seen = set()

    def note(batches, *crop):
        batches = list(batches)
        seen.update(photo.path for photos, _ in batches for photo in photos)
        return crop_batches(batches, *crop)

    monkeypatch.setattr(classification, "crop_batches", note)
    run(pretrained(), landmarks, tmp_path / "model.pt")
    dataset = open_dataset(landmarks)
    alone = dataset.images["label"].isna()
    labelled = {photo.path for photo, unlabelled in zip(dataset.photos(), alone, strict=True) if not unlabelled}
    _, held_out = hold_out(dataset, 0)
    validated = {photo.path for photo in held_out.photos()}
    assert validated and not validated & seen
    assert seen == labelled - validated


def test_crops_have_a_size_and_an_area_of_their_own(tmp_path, landmarks, monkeypatch):
    seen = []
    monkeypatch.setattr(classification, "crop_batches", lambda *given: seen.append(given[1:]) or crop_batches(*given))
    run(pretrained("train.pretrain.min_crop_area=0.5", "train.epochs=1"), landmarks, tmp_path / "model.pt")
    assert seen == [(24, 0.5, 0.0)] * 2


@pytest.mark.parametrize("labels", [[None] * 4, ["a", "a", "b", None]])
def test_photos_without_two_classes_are_refused(tmp_path, draw_dataset, landmarks, labels):
    folder = draw_dataset(tmp_path / "data", [(48, 36)] * 4, labels)
    with pytest.raises(DatasetError) as error:
        run(pretrained(), folder, tmp_path / "model.pt", val=landmarks)
    assert str(error.value) == (
        "training: fewer than two labels have two images; label more photos (a labels.csv), name backbone.weights, "
        "or set train.pretrain.epochs to 0"
    )


def test_a_loss_that_is_not_finite_names_the_rate_of_pretraining(tmp_path, landmarks):
    with pytest.raises(
        LrcrError, match=r"training: the loss is nan at image .*; lower train\.pretrain\.learning_rate$"
    ):
        run(pretrained("train.pretrain.learning_rate=1e30"), landmarks, tmp_path / "model.pt")


def test_out_of_memory_names_what_to_lower(tmp_path, landmarks, monkeypatch):
    monkeypatch.setattr(classifier, "madacos", lambda *_: torch.empty(2**50))
    remedy = "; lower train.pretrain.batch_size or train.pretrain.crop_size"
    with pytest.raises(OutOfMemoryError, match=re.escape(remedy)):
        run(pretrained(), landmarks, tmp_path / "model.pt")
