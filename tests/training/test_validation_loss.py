"""The loss of pairs of validation photos."""

import numpy as np
import pytest
import torch

from lrcr.data.dataset import open_dataset
from lrcr.errors import DatasetError
from lrcr.training.train import train
from lrcr.training.validation_loss import ValidationLoss

from .small import Killed, context, kill_after, make_setup, run, small_global

PAIRS = ("train.tuples.validation_pairs=6", "train.tuples.batch_size=3")
ASMK = ("train.tuples.losses={contrastive: 0, asmk: 1, words: 4, codebooks: 2}", "train.tuples.negatives=0")


@pytest.mark.parametrize("losses", [(), ASMK])
def test_it_is_the_mean_of_the_objective_over_the_same_pairs_each_time(landmarks, nine, pretrained, losses):
    params = context(pretrained, *PAIRS, *losses)
    setup = make_setup(params, landmarks)
    validation = ValidationLoss(params, setup, open_dataset(nine))
    found = validation()
    assert found > 0 and validation() == found and not setup.model.training

    tuples, pool, _ = validation.sampler.draw(0)
    assert tuples.shape == (6, 2 if losses else 4)
    assert {photo.path.parents[1] for photo in pool} == {nine}
    validation.objective.on_epoch_start(pool, 0)
    setup.model.eval()
    with torch.no_grad():
        batches = [tuples[:3], tuples[3:]]
        each = [validation.objective.loss(batch, validation.loss.embed(batch.ravel())).item() for batch in batches]
    assert found == pytest.approx(sum(each) / 6, rel=1e-5)


def test_it_follows_the_weights_and_has_no_gradient(landmarks, nine, pretrained):
    params = context(pretrained, *PAIRS, *ASMK)
    setup = make_setup(params, landmarks)
    validation = ValidationLoss(params, setup, open_dataset(nine))
    before = validation()
    with torch.no_grad():
        setup.model.whitening.weight.mul_(torch.linspace(0.1, 3, setup.model.whitening.weight.shape[1]))
    assert validation() != before
    assert all(parameter.grad is None for parameter in setup.model.parameters())


def test_an_incomplete_batch_is_left_out_where_pairs_are_compared(landmarks, nine, pretrained):
    settings = ("train.tuples.validation_pairs=7", "train.tuples.batch_size=3")
    params = context(pretrained, *settings, *ASMK)
    seven = ValidationLoss(params, make_setup(params, landmarks), open_dataset(nine))
    params = context(pretrained, "train.tuples.validation_pairs=6", "train.tuples.batch_size=3", *ASMK)
    six = ValidationLoss(params, make_setup(params, landmarks), open_dataset(nine))
    np.testing.assert_array_equal(seven.sampler.draw(0)[0][:6], six.sampler.draw(0)[0])
    assert seven() == six()


@pytest.mark.parametrize("params", [PAIRS, (*PAIRS, "train.tuples.schedule=sequential")])
def test_a_training_logs_it_and_learns_what_it_learns_without(tmp_path, landmarks, nine, pretrained, params):
    logged = run(context(pretrained, *params), landmarks, tmp_path / "with.safetensors", nine)
    without = run(
        context(pretrained, *params, "train.tuples.validation_pairs=0"), landmarks, tmp_path / "m.safetensors", nine
    )
    assert all("validation_loss" in values for values in logged)
    left = [{name: value for name, value in values.items() if name != "validation_loss"} for values in logged]
    assert left == without


def test_a_killed_training_logs_it_as_an_undisturbed_one(tmp_path, monkeypatch, landmarks, nine, pretrained):
    monkeypatch.setenv("LRCR_STATE", str(tmp_path / "state"))
    params = small_global("gem", "train.tuples.validation_pairs=4")
    whole = run(params, landmarks, tmp_path / "whole.safetensors", nine)
    with pytest.raises(Killed):
        train(params, landmarks, nine, tmp_path / "killed.safetensors", log=kill_after(1))
    assert run(params, landmarks, tmp_path / "killed.safetensors", nine) == whole


def test_photos_without_labels_are_refused_in_one_line(tmp_path, draw_dataset, landmarks, pretrained):
    params = context(pretrained, *PAIRS)
    folder = draw_dataset(tmp_path / "bare", [(48, 36)] * 4, [None] * 4)
    message = "^bare: training: no two images share a label; .*; or set train.tuples.validation_pairs to 0$"
    with pytest.raises(DatasetError, match=message):
        ValidationLoss(params, make_setup(params, landmarks), open_dataset(folder))
