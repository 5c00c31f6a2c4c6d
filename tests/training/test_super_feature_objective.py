"""FIRe's training: its objective, mirrored images, and pretraining of the attention alone."""

import numpy as np
import pytest
import torch

from lrcr.config.params import Params
from lrcr.losses.super_features import decorrelation_loss, super_feature_loss
from lrcr.models.factory import open_model
from lrcr.training.phases import Phases
from lrcr.training.pretraining import pretrain
from lrcr.training.train import train

from .small import (
    Killed,
    copy_state,
    kill_after_line,
    make_setup,
    make_trainer,
    moved,
    parts,
    run,
    same,
    small,
)
from .small import weights as read_weights

FIRE = (
    *("model.name=fire", "super_features={templates: 5, dim: 12, iterations: 2}"),
    *("train.tuples.learning_rates.context=1e-2", "train.tuples.warmup_steps=0", "train.tuples.mirror=true"),
)
TUPLES = np.array([[0, 5, 1, 2], [1, 6, 0, 2]])


def fire(*overrides: str) -> Params:
    return small(*FIRE, *overrides)


def test_the_loss_is_the_weighted_sum_of_both(landmarks):
    weights = "train.tuples.fire={contrastive: 3, decorrelation: 0.5, margin: 1.5, ratio: 0.95}"
    objective = (trainer := make_trainer(fire(weights), landmarks)).objective
    embedded = trainer.loss.embed(TUPLES.ravel())
    expected = 0.0
    for start in (0, 4):
        query, positive, *negatives = (image.features[0] for image in embedded[start : start + 4])
        expected += 3 * super_feature_loss(query, positive, torch.stack(negatives), 1.5, 0.95).item()
        expected += 0.5 * sum(decorrelation_loss(image.attention[0]).item() for image in embedded[start : start + 4])
    assert objective.loss(TUPLES, embedded).item() == pytest.approx(expected, rel=1e-4)
    assert not objective.compares_tuples
    assert objective.order(TUPLES, 2) is TUPLES


def test_an_epoch_trains_trunk_and_attention(landmarks):
    trainer = make_trainer(fire(), landmarks)
    before = copy_state(trainer.setup.model)
    assert np.isfinite(list(trainer.run_epoch(1).values())).all()
    changed = moved(before, trainer.setup.model.state_dict())
    assert parts(changed) == {"backbone", "super_features"}
    assert {name for name in before if name.startswith("super_features.")} <= changed


def test_about_half_of_the_images_are_mirrored_and_others_in_each_epoch(landmarks):
    trainer = make_trainer(fire(), landmarks)
    first, second, again = (trainer._draw_versions(epoch) for epoch in (1, 2, 1))
    mirrored = [[photo.mirrored for photo in photos] for photos in (first, second)]
    assert first == again and mirrored[0] != mirrored[1]
    assert 0.2 < np.mean(mirrored) < 0.8
    trainer = make_trainer(fire("train.tuples.mirror=false"), landmarks)
    assert trainer._draw_versions(1) == trainer.setup.images.photos


@pytest.mark.parametrize("trains_trunk", [True, False])
def test_pretraining_trains_the_attention_and_a_trunk_without_weights(tmp_path, nine, trains_trunk):
    params = fire("train.pretrain={epochs: 1, batch_size: 9, crop_size: 32, warmup_epochs: 0}")
    setup = make_setup(params, nine)
    before = copy_state(setup.model)
    phases = Phases(tmp_path, lambda: 0.0, 1, lambda values: None)
    pretrain(params.train.pretrain, setup, phases, trains_trunk=trains_trunk)
    changed = moved(before, setup.model.state_dict())
    assert parts(changed) == ({"backbone", "super_features"} if trains_trunk else {"super_features"})
    assert {name for name in before if name.startswith("super_features.")} <= changed
    assert all(parameter.requires_grad for parameter in setup.model.parameters())


@pytest.mark.usefixtures("changes_rewarded")
def test_a_training_pretrains_first_and_continues_after_a_kill(tmp_path, landmarks, pretrained, state):
    settings = ("train.pretrain={epochs: 1, batch_size: 5, crop_size: 32}", "train.epochs=1")
    params = fire(*settings, f"backbone.weights={pretrained}")
    whole = run(params, landmarks, tmp_path / "whole.pt")
    assert [values["epoch"] for values in whole] == [1, 1, 2]
    assert ["validation_map" in values for values in whole] == [False, True, True]
    with pytest.raises(Killed):
        train(params, landmarks, None, tmp_path / "killed.pt", log=kill_after_line(1))
    assert run(params, landmarks, tmp_path / "killed.pt") == whole
    assert same(read_weights(tmp_path / "killed.pt"), read_weights(tmp_path / "whole.pt"))
    assert not list(state.iterdir())
    assert "pretrain" in open_model(tmp_path / "whole.pt")[1].params["train"]
