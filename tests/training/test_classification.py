import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lrcr.config.params import Params
from lrcr.errors import DatasetError, LrcrError
from lrcr.losses.local_triplet import local_triplet_loss
from lrcr.losses.madacos import madacos
from lrcr.training import classification
from lrcr.training.classification import ClassificationTrainer
from lrcr.training.classifier import ClassifierHead
from lrcr.training.crops import crop_batches, random_crop
from lrcr.training.tuples import labelled_images

from .small import copy_state, make_setup, moved, run, small_global


def cfcd(*overrides: str) -> Params:
    """Params of CFCD; the overrides are of its own section."""
    return small_global("cfcd", *(f"train.classification.{override}" for override in overrides))


def make_trainer(params: Params, folder: Path, *, fine: bool = False) -> ClassificationTrainer:
    """A trainer for four epochs."""
    setup = make_setup(params, folder)
    images, classes = labelled_images(setup.images)
    head = ClassifierHead(setup.model, int(classes.max()) + 1, 0, params.train.classification)
    return ClassificationTrainer(setup, params.train.classification, head, images, classes, 4, fine=fine)


def test_photos_without_a_common_label_are_not_trained_on(landmarks):
    trainer = make_trainer(cfcd(), landmarks)
    assert len(trainer.images.photos) == 15 and sorted(set(trainer.classes)) == [0, 1, 2, 3, 4]


def test_each_image_is_seen_once_an_epoch_and_never_alone(nine):
    trainer = make_trainer(cfcd("batch_size=17"), nine)
    [batch] = trainer._draw(np.random.default_rng(0))
    assert len(batch) == len(set(batch)) == 17, "the last image alone has no statistics"
    trainer = make_trainer(cfcd("batch_size=8"), nine)
    batches = trainer._draw(np.random.default_rng(0))
    assert [len(batch) for batch in batches] == [8, 8, 2]
    assert sorted(np.concatenate(batches)) == list(range(18))


def test_the_second_phase_takes_tuples_of_eight(nine):
    trainer = make_trainer(cfcd("batch_size=16"), nine, fine=True)
    [batch] = trainer._draw(np.random.default_rng(0))
    assert batch.shape == (16,)
    for anchor, positive, *negatives in batch.reshape(-1, 8):
        classes = trainer.classes
        assert anchor != positive and classes[anchor] == classes[positive]
        assert len(set(negatives)) == 6 and classes[anchor] not in classes[negatives]


def test_fewer_images_than_ranks_are_refused(nine, monkeypatch):
    trainer = make_trainer(cfcd(), nine)
    for name, value in {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "19"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DatasetError) as error:
        trainer._draw(np.random.default_rng(0))
    assert str(error.value) == "training: 18 labelled images are too few for 19 ranks; start fewer"


@pytest.mark.parametrize("batchnorm", ["frozen", "trained", "null"])
def test_the_second_phase_has_a_rate_of_its_own_and_keeps_statistics_that_are_frozen(nine, batchnorm):
    overrides = ("batch_size=16", "fine_learning_rate=0.001", f"batchnorm={batchnorm}")
    trainer = make_trainer(cfcd(*overrides), nine, fine=True)
    before = copy_state(trainer.trained)
    trainer._set_rate(0)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.001)
    trainer.run_epoch(1)
    still = set(before) - moved(before, trainer.trained.state_dict())
    statistics = {name for name in before if "running" in name or "tracked" in name}
    assert still == {"model.pooling.p"} | (statistics if batchnorm == "frozen" else set())
    assert trainer.trained.model.backbone.training  # a GPU would infer in half precision otherwise


@pytest.mark.parametrize("batchnorm", ["frozen", "null"])
def test_batchnorm_of_frozen_stages_keeps_its_statistics_and_that_of_the_others_does_not(nine, batchnorm):
    trainer = make_trainer(cfcd(f"batchnorm={batchnorm}"), nine)
    backbone = trainer.trained.model.backbone
    trainer.trained.model.freeze(1)
    before = copy_state(backbone.trunk)
    trainer.run_epoch(1)
    changed = {name for name in moved(before, backbone.trunk.state_dict()) if "running" in name}
    last = tuple(f"{name}." for name in backbone.trained)
    expected = {name for name in before if "running" in name and name.startswith(last)}
    assert changed == (expected if batchnorm == "null" else set()) and expected


def test_the_second_phase_looks_at_the_classifier_anew_in_each_epoch(nine, monkeypatch):
    trainer = make_trainer(cfcd("batch_size=16"), nine, fine=True)
    seen = []
    predict = trainer._predict
    monkeypatch.setattr(trainer, "_predict", lambda: seen.append(trainer.trained.weights.detach().clone()) or predict())
    trainer.run_epoch(1)
    trainer.run_epoch(2)
    assert len(seen) == 2 and not torch.equal(*seen)


def test_the_loss_is_that_of_madacos_and_of_the_local_triplets(nine):
    trainer = make_trainer(cfcd("batch_size=16", "local=0.5"), nine, fine=True)
    ids = trainer._draw(np.random.default_rng(0))[0]
    images = torch.stack([random_crop(trainer.images.photos[i], 64, 0.08, seed=i) for i in ids])
    trainer.trained.train()
    with torch.no_grad():
        features = trainer.trained.model.backbone(images)
        vectors = trainer.trained.model.embed(features)
        labels = torch.from_numpy(trainer.classes[ids])
        head = madacos(vectors @ F.normalize(trainer.trained.weights, dim=1).T, labels)
        local = sum(
            local_triplet_loss(features[t : t + 8].flatten(2).mT, features[t : t + 8].abs().sum(dim=1).flatten(1))
            for t in (0, 8)
        )
    loss, scale, margin = trainer._step(ids, images)
    assert loss == pytest.approx(float(F.cross_entropy(head.logits, labels) + 0.5 * local), rel=1e-3)
    assert (scale, margin) == pytest.approx((float(head.scale), float(head.margin)), rel=1e-4)
    assert float(local) > 0


@pytest.mark.parametrize("fine", [False, True])
def test_the_images_at_which_classification_diverges_are_named(nine, fine):
    trainer = make_trainer(cfcd("batch_size=16"), nine, fine=fine)
    trainer.trained.eval()  # BatchNorm would spread what is wrong with one image to all
    ids = trainer._draw(np.random.default_rng(0))[0]
    images = torch.stack([random_crop(trainer.images.photos[i], 64, 0.3, seed=i) for i in ids])
    images[9] = torch.nan
    files = [str(trainer.images.photos[i].path) for i in ids]
    named = f"tuple {', '.join(files[8:16])}" if fine else f"image {files[9]}"
    message = f"training: the loss is nan at {named}; lower train.classification.learning_rate"
    with pytest.raises(LrcrError, match=f"^{re.escape(message)}$"):
        trainer._step(ids, images)


def test_a_gradient_above_the_norm_is_shortened_and_a_smaller_one_is_not(nine):
    found = {}
    for norm in ("null", "0.25", "1000"):
        trainer = make_trainer(cfcd("batch_size=16", f"clip_norm={norm}"), nine)
        trainer.trained.eval()
        ids = trainer._draw(np.random.default_rng(0))[0]
        trainer._step(ids, torch.stack([random_crop(trainer.images.photos[i], 64, 0.3, seed=i) for i in ids]))
        gradients = [parameter.grad for parameter in trainer.trained.parameters() if parameter.grad is not None]
        found[norm] = torch.cat([gradient.flatten() for gradient in gradients])
    assert found["null"].norm() > 0.5
    torch.testing.assert_close(found["1000"], found["null"])
    torch.testing.assert_close(found["0.25"], 0.25 * F.normalize(found["null"], dim=0), rtol=1e-4, atol=1e-6)


def test_labels_have_epochs_and_crops_of_their_own(tmp_path, nine, monkeypatch):
    seen = []
    monkeypatch.setattr(classification, "crop_batches", lambda *given: seen.append(given[1:]) or crop_batches(*given))
    overrides = ("epochs=3", "crop_size=24", "min_crop_area=0.5", "colour_noise=0.3")
    run(cfcd(*overrides), nine, tmp_path / "model.pt", nine)
    assert seen == [(24, 0.5, 0.3)] * 4


def test_a_fixed_head_keeps_scale_and_margin(nine):
    values = make_trainer(cfcd("head=fixed", "scale=20", "margin=0.1"), nine).run_epoch(1)
    assert (values["scale"], values["margin"]) == pytest.approx((20, 0.1))


def test_the_rate_rises_and_then_falls_as_half_a_cosine(nine):
    trainer = make_trainer(cfcd("learning_rate=1", "warmup_epochs=1"), nine)
    seen = []
    for epochs in (0, 1, 2, 4):
        trainer._set_rate(epochs)
        seen.append(trainer.optimizer.param_groups[0]["lr"])
    assert seen == pytest.approx([0.5, 0.5 * (1 + 0.5**0.5), 0.5, 0])


def test_classification_is_learned(nine):
    trainer = make_trainer(cfcd("batch_size=18", "head=fixed"), nine)
    losses = [trainer.run_epoch(epoch)["loss"] for epoch in range(1, 5)]
    assert losses[-1] < 0.8 * losses[0]


def test_a_frozen_trunk_is_not_trained(nine):
    trainer = make_trainer(small_global("cfcd", "train.freeze=backbone"), nine)
    before = copy_state(trainer.trained)
    trainer.run_epoch(1)
    changed = moved(before, trainer.trained.state_dict())
    assert changed and not any(name.startswith("model.backbone") for name in changed)
