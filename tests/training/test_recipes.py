"""Every recipe of a published system takes a step of training, with drawn weights and small images."""

import numpy as np
import pytest
import torch

from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.models.factory import build_model
from lrcr.training.classification import ClassificationTrainer
from lrcr.training.classifier import ClassifierHead
from lrcr.training.listwise import ListwiseTrainer
from lrcr.training.methods import method_of
from lrcr.training.objective import make_objective
from lrcr.training.phases import Phases, Trainer
from lrcr.training.pretraining import pretrain
from lrcr.training.setup import Setup
from lrcr.training.tuple_trainer import TupleTrainer
from lrcr.training.tuples import labelled_images

from .small import copy_state, make_setup, moved, parts

SMALL = (
    *("backbone.weights=none", "train.pretrain.epochs=0", "train.image_size=32", "train.epochs=1"),
    *("train.tuples.queries_per_epoch=1", "train.tuples.negative_pool=8", "train.tuples.negatives=1"),
    *("train.tuples.batch_size=1", "train.listwise.batch_size=8", "train.listwise.chunk_size=8"),
    *("train.classification.batch_size=8", "train.classification.crop_size=32"),
    *("train.classification.fine_epochs=1", "train.classification.fine_crop_size=32"),
)
TRAINED = {
    "fire-r50": {"backbone", "super_features"},
    "gem-r101": {"backbone", "pooling"},
    "rmac-r101": {"backbone"},
    "solar-r101": {"backbone", "pooling", "projection"},
    "apgem-r101": {"backbone", "pooling", "projection"},
    "cfcd-r50": {"backbone", "projection"},
}
"""Recipe → the parts that a step changes."""
DELF = [{"backbone"}, {"attention"}]
DELG = [{"backbone", "last", "projection", "local"}]


def trainer_of(params: Params, setup: Setup, fine: bool) -> Trainer:
    if params.method == "tuples":
        return TupleTrainer(setup, params.train.tuples, make_objective(params, setup))
    if params.method == "listwise":
        return ListwiseTrainer(setup, params.train.listwise)
    images, classes = labelled_images(setup.images)
    head = ClassifierHead(setup.model, int(classes.max()) + 1, params.seed, params.train.classification)
    return ClassificationTrainer(setup, params.train.classification, head, images, classes, 1, fine=fine)


@pytest.mark.parametrize(("name", "fine"), [*((name, False) for name in TRAINED), ("cfcd-r50", True)])
def test_a_recipe_takes_a_step(tmp_path, draw_dataset, name, fine):
    params = load_params(recipe=name, overrides=SMALL)
    labels = ["a", "a", "b", "b", "c", "c", "d", "d"]
    setup = make_setup(params, draw_dataset(tmp_path / "data", [(48, 36)] * 8, labels))
    before = copy_state(setup.model)
    values = trainer_of(params, setup, fine).run_epoch(1, first=1)
    assert np.isfinite(list(values.values())).all() and values["loss"] > 0
    changed = moved(before, setup.model.state_dict())
    assert parts(changed) == TRAINED[name]
    if name == "solar-r101":
        assert {key for key in before if ".second_order_attention." in key and key.endswith("weight")} & changed


def test_the_recipe_of_fire_first_trains_its_attention_as_a_classifier(tmp_path, draw_dataset):
    crops = "train.pretrain={epochs: 1, batch_size: 8, crop_size: 32, min_crop_area: 0.3, warmup_epochs: 0}"
    labels = ["a", "a", "b", "b", "c", "c", "d", "d"]
    params = load_params(recipe="fire-r50", overrides=(*SMALL, crops))
    setup, logged = make_setup(params, draw_dataset(tmp_path / "data", [(48, 36)] * 8, labels)), []
    before = copy_state(setup.model)
    pretrain(params.train.pretrain, setup, Phases(tmp_path, lambda: 1.0, 1, logged.append), trains_trunk=False)
    assert parts(moved(before, setup.model.state_dict())) == {"super_features"}
    assert np.isfinite(logged[0]["loss"]) and logged[0]["loss"] > 0


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
