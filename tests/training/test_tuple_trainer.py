import re
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lrcr.data.loading import load_batches
from lrcr.errors import LrcrError
from lrcr.losses.contrastive import contrastive_loss
from lrcr.models.factory import build_model
from lrcr.training.objective import make_objective
from lrcr.training.tuple_trainer import TupleTrainer

from .small import CONTEXT, SIZE, context, copy_state, make_setup, make_trainer, moved, small, small_global


def test_a_step_of_tuples_one_by_one_is_that_of_all_at_once(landmarks, pretrained):
    """Frozen BatchNorm makes tuples independent: passing them one at a time changes no gradient."""
    params = small(f"backbone.weights={pretrained}")
    trainer = make_trainer(params, landmarks)
    tuples = np.array([[0, 5, 1, 2], [6, 1, 3, 4]])
    trainer.setup.model.train()
    found = trainer._step(tuples)
    gradients = [parameter.grad for parameter in trainer.setup.model.backbone.parameters()]

    model = build_model(params).eval()
    [batch] = load_batches([trainer.setup.images.photos[i] for i in tuples.ravel()], SIZE, 8)
    vectors = model(batch.images).view(2, 4, -1)
    loss = contrastive_loss(vectors[:, 0], vectors[:, 1], vectors[:, 2:], 0.8)
    loss.backward()
    assert found == pytest.approx(loss.item(), rel=1e-5)
    for gradient, parameter in zip(gradients, model.backbone.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=1e-5)


def embed(trainer: TupleTrainer, ids: Sequence[int]) -> Tensor:
    """The training descriptor of images, as the trainer sees them."""
    return torch.cat([trainer.setup.model.pool(pyramid) for pyramid in trainer.loss.embed(np.array(ids))])


def test_descriptors_of_photos_of_many_shapes_keep_their_order(shapes, pretrained):
    trainer = make_trainer(small(f"backbone.weights={pretrained}"), shapes)
    trainer.setup.model.eval()
    ids = [7, 0, 4, 2, 7, 1]
    together = embed(trainer, ids)
    for row, image in enumerate(ids):
        torch.testing.assert_close(together[row], embed(trainer, [image])[0], rtol=1e-4, atol=1e-5)
    assert together.requires_grad


def test_the_tuple_at_which_the_loss_diverges_is_named(landmarks, pretrained):
    trainer = make_trainer(small(f"backbone.weights={pretrained}"), landmarks)
    trainer.setup.model.train()
    sound, wrong = [0, 5, 1, 2], [6, 1, 3, 4]
    loss = trainer.objective.loss
    trainer.objective.loss = lambda tuples, seen: loss(tuples, seen) * (float("nan") if 6 in tuples else 1)
    files = [str(trainer.setup.images.photos[i].path) for i in wrong]
    named = f"nan at query {files[0]}, positive {files[1]}, negatives {files[2]}, {files[3]}"
    remedy = "lower train.tuples.learning_rates"
    with pytest.raises(LrcrError, match=f"^training: the loss is {re.escape(named)}; {remedy}$"):
        trainer._step(np.array([sound, wrong]))


def test_a_frozen_trunk_from_scratch_keeps_its_statistics(landmarks, tmp_path):
    params = small(*CONTEXT, "train.freeze=backbone", "train.tuples.negative_pool=9")
    trainer = make_trainer(params, landmarks, tmp_path / "maps")
    backbone = trainer.setup.model.backbone
    before = copy_state(backbone)
    trainer.run_epoch(1)
    assert not moved(before, backbone.state_dict())


@pytest.mark.parametrize("part", ["smoothing", "graph"])
def test_only_the_chosen_parts_are_trained(landmarks, pretrained, part):
    params = context(pretrained)
    setup = make_setup(params, landmarks)
    before = copy_state(setup.model)
    TupleTrainer(setup, params.train.tuples, make_objective(params, setup), parts=(part,)).run_epoch(1)
    changed = {name.split(".")[0] for name in moved(before, setup.model.state_dict())}
    assert changed == {part}


def test_the_loss_that_is_logged_is_the_mean_of_the_tuples(landmarks, pretrained):
    params = small(f"backbone.weights={pretrained}", "train.tuples.learning_rates.backbone=1e-12")
    trainer = make_trainer(params, landmarks)
    logged = trainer.run_epoch(1)
    tuples, _, distance = trainer.sampler.draw(1)
    trainer.setup.model.train()
    losses = [trainer.objective.loss(row[None], trainer.loss.embed(row)).item() for row in tuples]
    assert logged["loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert logged["negative_distance"] == pytest.approx(distance, rel=1e-4)


@pytest.mark.parametrize(("distance", "told"), [(0.16, True), (0.9, False)])
def test_a_margin_far_above_the_distance_of_the_negatives_is_told_once(landmarks, pretrained, caplog, distance, told):
    trainer = make_trainer(small("model.name=gem", f"backbone.weights={pretrained}"), landmarks)
    draw = trainer.sampler.draw
    trainer.sampler.draw = lambda epoch: (*draw(epoch)[:2], distance)
    trainer.run_epoch(1)
    trainer.run_epoch(2)
    message = (
        "train.tuples.margin: with 0.8 most of the loss pushes images apart, because the mined negatives lie at a "
        "distance of 0.16; about 0.2 may train better"
    )
    assert [record.message for record in caplog.records] == [message] * told


def test_a_loss_without_this_margin_is_not_warned_of_it(landmarks, pretrained):
    for name in ("solar", "fire"):
        assert make_trainer(small(f"model.name={name}"), landmarks).objective.margin is None


def test_a_model_that_has_collapsed_is_told_in_one_line(landmarks, pretrained):
    trainer = make_trainer(small(f"backbone.weights={pretrained}"), landmarks)
    draw = trainer.sampler.draw
    trainer.sampler.draw = lambda epoch: (*draw(epoch)[:2], 2e-4)
    message = (
        r"^training: epoch 3: the vectors of different landmarks are equal \(distance 0\.0002\): the model has "
        "collapsed; lower train.tuples.learning_rates, or start from weights$"
    )
    with pytest.raises(LrcrError, match=message):
        trainer.run_epoch(3)


def test_batchnorm_after_the_pooling_is_frozen(landmarks, pretrained):
    """Photos of different shapes are described one by one."""
    params = small_global("cfcd", f"backbone.weights={pretrained}", "train.method=tuples")
    trainer = make_trainer(params, landmarks)
    trainer.run_epoch(1)
    layers = [layer for layer in trainer.setup.model.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]
    assert layers and not any(layer.training for layer in layers)
