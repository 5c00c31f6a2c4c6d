"""The recipes that train by labels take a step: their networks from drawn weights, on small crops of drawn photos."""

import numpy as np
import pytest
import torch

from lrcr.config.reading import load_params
from lrcr.models.factory import build_model
from lrcr.training.classification import ClassificationTrainer
from lrcr.training.methods import method_of
from lrcr.training.phases import Phases

from .small import copy_state, make_setup, moved, parts

SMALL = (
    *("backbone.weights=none", "train.pretrain.epochs=0", "train.image_size=32", "train.epochs=1"),
    *("train.classification.fine_epochs=1", "train.classification.crop_size=32", "train.classification.batch_size=4"),
    "train.classification.fine_crop_size=32",
)


DELF = [{"backbone"}, {"attention"}]
DELG = [{"backbone", "last", "projection", "local"}]


@pytest.mark.parametrize(("name", "trained"), [("delf-r50", DELF), ("delf-r-r50", DELF), ("delg-r50", DELG)])
def test_a_recipe_takes_a_step_in_each_phase(tmp_path, nine, monkeypatch, name, trained):
    params = load_params(recipe=name, overrides=SMALL)
    monkeypatch.setattr("tests.training.small._build", lambda text: build_model(params))
    setup, found, losses = make_setup(params, nine), [], []

    def one_step(self, epoch, first=1):
        before = copy_state(self.trained)
        batch = self._draw(np.random.default_rng(0))[0]
        self.trained.train()
        self._set_rate(0)
        losses.append(self._step(batch, torch.rand(len(batch), 3, self.crop_size, self.crop_size))[0])
        found.append(parts(key.removeprefix("model.") for key in moved(before, self.trained.state_dict())))
        return {"epoch": epoch, "loss": losses[-1]}

    monkeypatch.setattr(ClassificationTrainer, "run_epoch", one_step)
    method_of(params).train(setup, Phases(tmp_path, lambda: 1.0, 1, lambda values: None))
    classifier = {"weights", "bias", "scale", "local_weights", "local_bias"}
    assert [each - classifier for each in found] == trained
    assert np.isfinite(losses).all()
