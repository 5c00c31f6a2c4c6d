import re
from pathlib import Path

import numpy as np
import pytest
import torch

from lrcr.config.params import Params
from lrcr.errors import DatasetError, LrcrError
from lrcr.losses.listwise import listwise_loss
from lrcr.training import listwise
from lrcr.training.crops import crop_batches, random_crop
from lrcr.training.listwise import ListwiseTrainer

from .small import copy_state, make_setup, moved, parts, small_global


def apgem(*overrides: str) -> Params:
    """Params of AP-GeM; the overrides are of its own section."""
    return small_global("apgem", *(f"train.listwise.{override}" for override in overrides))


def make_trainer(params: Params, folder: Path) -> ListwiseTrainer:
    return ListwiseTrainer(make_setup(params, folder), params.train.listwise)


def test_batches_keep_classes_together(nine):
    trainer = make_trainer(apgem("batch_size=8"), nine)
    first, second = (trainer._draw(np.random.default_rng(seed)) for seed in (0, 1))
    assert [len(batch) for batch in first] == [8, 8, 2]
    for batch in first:
        sizes = np.bincount(trainer.classes[batch])
        assert sizes[sizes > 0].tolist() == [2] * (len(batch) // 2)
    assert sorted(np.concatenate(first)) == sorted(np.concatenate(second)) == list(range(18))
    assert not np.array_equal(first[0], second[0])


def test_images_of_a_class_do_not_stand_together_in_a_batch(nine):
    trainer = make_trainer(apgem("batch_size=18"), nine)
    [batch] = trainer._draw(np.random.default_rng(0))
    beside = trainer.classes[batch][:-1] == trainer.classes[batch][1:]
    assert beside.sum() < 5, "in order they would be nine"


def test_batches_of_fewer_images_than_ranks_are_refused(nine, monkeypatch):
    trainer = make_trainer(apgem("batch_size=8"), nine)
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "9"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DatasetError) as error:
        trainer._draw(np.random.default_rng(0))
    assert str(error.value) == "training: 8 images a batch are too few; there must be 9"


def test_the_loss_is_listwise_over_the_crops_without_the_image_itself(nine):
    trainer = make_trainer(apgem("bins=7"), nine)
    trainer.setup.model.eval()
    ids, seeds = np.array([0, 9, 1, 10, 2]), np.arange(5)
    found = trainer._step(ids, seeds)
    model = make_setup(apgem(), nine).model.eval()
    photos = [trainer.images.photos[i] for i in ids]
    crops = torch.stack([random_crop(photo, 32, 0.08, seed) for photo, seed in zip(photos, range(5), strict=True)])
    with torch.no_grad():
        vectors = model(crops)
    similarity = (vectors @ vectors.T).fill_diagonal_(-torch.inf)
    classes = torch.from_numpy(trainer.classes[ids])
    expected = listwise_loss(similarity, classes[:, None] == classes, 7)
    assert found == pytest.approx(float(expected), rel=1e-4)


def test_chunks_do_not_change_a_step(nine):
    found = []
    for chunk in (3, 10):
        # BatchNorm is frozen, so the chunks are independent.
        trainer = make_trainer(apgem(f"chunk_size={chunk}"), nine)
        model = trainer.setup.model.train()
        loss = trainer._step(np.arange(10), np.arange(10))
        found.append((loss, model.backbone.trunk.conv1.weight.grad.clone()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-4)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-2, atol=1e-4)


def test_the_image_at_which_training_diverges_is_named(nine, monkeypatch):
    params = small_global("apgem", "train.listwise={batch_size: 8, chunk_size: 3}", "train.freeze=backbone")
    trainer = make_trainer(params, nine)
    trainer.setup.model.eval()
    wrong = trainer.images.photos[5]
    monkeypatch.setattr(
        listwise,
        "crop_batches",
        lambda batches, *size: [
            spoil(crop, photos, wrong) for (photos, _), crop in zip(batches, crop_batches(batches, *size), strict=True)
        ],
    )
    message = f"nan at image {wrong.path}, of a batch of 8; lower train.listwise.learning_rates"
    with pytest.raises(LrcrError, match=f"^training: the loss is {re.escape(message)}$"):
        trainer._step(np.arange(8), np.arange(8))


def spoil(images, photos, wrong):
    images[[photo == wrong for photo in photos]] = torch.nan
    return images


def test_crops_have_a_size_and_an_area_of_their_own(nine, monkeypatch):
    seen = []
    monkeypatch.setattr(listwise, "crop_batches", lambda *given: seen.append(given[1:]) or crop_batches(*given))
    make_trainer(apgem("batch_size=18", "chunk_size=18", "crop_size=24", "min_crop_area=0.5"), nine).run_epoch(1)
    assert seen == [(24, 0.5)] * 2, "once without and once with gradient"


def test_a_frozen_trunk_is_not_trained(nine):
    params = small_global("apgem", "train.freeze=backbone", "pooling.projection=8")
    trainer = make_trainer(params, nine)
    before = copy_state(trainer.setup.model)
    trainer.run_epoch(1)
    assert parts(moved(before, trainer.setup.model.state_dict())) == {"pooling", "projection"}


def test_a_chunk_may_be_one_image(nine):
    params = small_global("cfcd", "train.method=listwise", "train.listwise.batch_size=3", "train.listwise.chunk_size=2")
    values = make_trainer(params, nine).run_epoch(1)
    assert np.isfinite(values["loss"])
