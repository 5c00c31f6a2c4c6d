"""Training of global models: each kind of epoch learns, is reproducible and continues after it was killed."""

import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.data.dataset import open_dataset
from lrcr.errors import DatasetError, LrcrError
from lrcr.losses.local_triplet import local_triplet_loss
from lrcr.losses.madacos import madacos
from lrcr.losses.second_order import second_order_loss
from lrcr.losses.triplet import triplet_loss
from lrcr.models.factory import build_model, open_model
from lrcr.training import classification, listwise
from lrcr.training.classification import ClassifierHead, LabelTrainer, labelled
from lrcr.training.crops import crop_batches, draw_box, random_crop
from lrcr.training.listwise import ListwiseTrainer
from lrcr.training.maps import TrunkMaps
from lrcr.training.train import train
from lrcr.training.tuple_trainer import TupleTrainer
from lrcr.training.tuples import TrainingSet, training_set

CPU = torch.device("cpu")
NAMES = ["mac", "spoc", "gem", "rmac", "solar", "apgem", "cfcd"]
SMALL = (
    *("backbone.weights=none", "backbone.skip_layers=3", "train.image_size=32", "train.epochs=2", "train.decay=0.5"),
    *("train.queries=5", "train.pool=16", "train.negatives=2", "train.batch=2", "train.rates.backbone=1e-3"),
    *("train.warmup=1", "train.rates.context=1e-2", "train.apgem.batch=10", "train.apgem.chunk=5"),
    *("train.cfcd.batch=8", "train.cfcd.warmup=1", "train.cfcd.fine_epochs=1", "train.cfcd.rate=0.05"),
)


def small(name: str, *overrides: str) -> Params:
    return load_params(overrides=[*SMALL, f"model.name={name}", *overrides])


@pytest.fixture(scope="module")
def nine(tmp_path_factory, draw_dataset):
    """Nine landmarks with two photos each."""
    labels = [f"landmark {i % 9}" for i in range(18)]
    return draw_dataset(tmp_path_factory.mktemp("data") / "nine", [(48, 36)] * 18, labels)


class Killed(BaseException):
    """As a signal: no `except Exception` catches it."""


def run(params, folder, model_file, dies_after=None):
    logged = []

    def log(values):
        logged.append(values)
        if values["epoch"] == dies_after:
            raise Killed

    train(params, folder, folder, model_file, log=log)
    return logged


def same(a, b):
    (first, _), (second, _) = open_model(a), open_model(b)
    return all(
        torch.equal(x, y) for x, y in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_model_trains_and_continues_after_it_was_killed(tmp_path, nine, name, state):
    params = small(name)
    whole = run(params, nine, tmp_path / "whole.pt")
    epochs = 3 if name == "cfcd" else 2
    assert [values["epoch"] for values in whole] == list(range(1, epochs + 1))
    assert all(np.isfinite(list(values.values())).all() for values in whole)
    for epoch in range(1, epochs):
        with pytest.raises(Killed):
            run(params, nine, tmp_path / "killed.pt", dies_after=epoch)
        assert run(params, nine, tmp_path / "killed.pt") == whole
        assert same(tmp_path / "killed.pt", tmp_path / "whole.pt")
    before, after = build_model(params).state_dict(), open_model(tmp_path / "whole.pt")[0].state_dict()
    assert {key for key in before if torch.equal(before[key], after[key])} <= {
        key for key in before if key.endswith("num_batches_tracked") or key == "pooling.p"
    }
    assert not list(state.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_without_epochs_every_model_is_off_the_shelf(tmp_path, nine, name):
    params = small(name, "train.epochs=0")
    assert run(params, nine, tmp_path / "model.pt") == []
    built = build_model(params).state_dict()
    assert all(
        torch.equal(value, built[key]) for key, value in open_model(tmp_path / "model.pt")[0].state_dict().items()
    )


def test_a_projection_starts_as_the_whitening_of_pooled_vectors(tmp_path, nine):
    params = small("gem", "train.epochs=0", "pooling.projection=6")
    run(params, nine, tmp_path / "model.pt")
    model, _ = open_model(tmp_path / "model.pt")
    batches = TrunkMaps(model.backbone, 32, CPU).batches(open_dataset(nine).photos())
    pooled = [model.pooling(features) for _, [features] in batches]
    with torch.inference_mode():
        whitened = model.projection(F.normalize(torch.cat(pooled), dim=1)).numpy()
    np.testing.assert_allclose(whitened.mean(axis=0), 0, atol=1e-2)
    np.testing.assert_allclose(whitened.T @ whitened / len(whitened), np.eye(6), atol=5e-2)


def tuple_trainer(params, folder):
    model = build_model(params)
    return TupleTrainer(params, model, training_set(open_dataset(folder)), TrunkMaps(model.backbone, 32, CPU), CPU)


def test_the_loss_of_solar_is_triplets_and_second_order_similarity(nine):
    tuples = np.array([[0, 9, 1, 2], [3, 12, 4, 5]])
    trainer = tuple_trainer(small("solar", "train.solar.second_order=3"), nine)
    seen = trainer._see(tuples.ravel())
    vectors = torch.cat(seen).view(2, 4, -1)
    split = (vectors[:, 0], vectors[:, 1], vectors[:, 2:])
    expected = triplet_loss(*split, 1.25) + 3 * second_order_loss(*split)
    torch.testing.assert_close(trainer.objective.loss(tuples, seen), expected)
    contrastive = tuple_trainer(small("gem"), nine).objective.loss(tuples, seen)
    assert not torch.isclose(contrastive, expected)


def label_trainer(params, folder, *, fine=False):
    images, classes = labelled(training_set(open_dataset(folder)))
    classified = ClassifierHead(build_model(params), int(classes.max()) + 1, 0)
    maps = TrunkMaps(classified.model.backbone, 32, CPU) if fine else None
    return LabelTrainer(params, classified, images, classes, 4, CPU, maps=maps)


def test_labels_of_a_single_image_are_left_out(landmarks):
    images, classes = labelled(training_set(open_dataset(landmarks)))
    assert len(images.photos) == 15 and sorted(set(classes)) == [0, 1, 2, 3, 4]
    with pytest.raises(DatasetError, match="fewer than two labels have two images"):
        labelled(TrainingSet(images.photos[:3], np.array([0, 0, 1]), np.empty((0, 2), np.int64)))


def test_each_image_is_seen_once_an_epoch_and_never_alone(nine):
    trainer = label_trainer(small("cfcd", "train.cfcd.batch=17"), nine)
    [batch] = trainer._draw(np.random.default_rng(0))
    assert len(batch) == len(set(batch)) == 17, "the last image alone has no statistics"
    trainer = label_trainer(small("cfcd", "train.cfcd.batch=8"), nine)
    batches = trainer._draw(np.random.default_rng(0))
    assert [len(batch) for batch in batches] == [8, 8, 2]
    assert sorted(np.concatenate(batches)) == list(range(18))


def test_the_second_phase_takes_tuples_of_eight(nine):
    trainer = label_trainer(small("cfcd", "train.cfcd.batch=16"), nine, fine=True)
    [batch] = trainer._draw(np.random.default_rng(0))
    for anchor, positive, *negatives in batch.reshape(-1, 8):
        classes = trainer.classes
        assert anchor != positive and classes[anchor] == classes[positive]
        assert set(classes[negatives]) == set(trainer.confused[classes[anchor]])


def test_the_second_phase_has_a_rate_of_its_own_and_keeps_statistics(nine):
    trainer = label_trainer(small("cfcd", "train.cfcd.batch=16", "train.cfcd.fine_rate=0.001"), nine, fine=True)
    before = {name: value.clone() for name, value in trainer.trained.state_dict().items()}
    trainer._set_rate(0)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.001)
    trainer.run_epoch(1)
    after = trainer.trained.state_dict()
    still = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert still == {name for name in before if "running" in name or "tracked" in name or name == "model.pooling.p"}
    assert trainer.trained.model.backbone.training  # a GPU would infer in half precision otherwise


def test_the_loss_is_that_of_madacos_and_of_the_local_triplets(nine):
    params = small("cfcd", "train.cfcd.batch=16", "train.cfcd.local=0.5")
    trainer = label_trainer(params, nine, fine=True)
    ids = trainer._draw(np.random.default_rng(0))[0]
    images = torch.stack([random_crop(trainer.images.photos[i], 64, 0.08, seed=i) for i in ids])
    trainer.trained.train()
    with torch.no_grad():
        features = trainer.trained.model.backbone(images)
        vectors = trainer.trained.model.describe_map(features)
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
    trainer = label_trainer(small("cfcd", "train.cfcd.batch=16"), nine, fine=fine)
    trainer.trained.eval()  # BatchNorm would spread what is wrong with one image to all
    ids = trainer._draw(np.random.default_rng(0))[0]
    images = torch.stack([random_crop(trainer.images.photos[i], 64, 0.3, seed=i) for i in ids])
    images[9] = torch.nan
    files = [str(trainer.images.photos[i].path) for i in ids]
    named = f"tuple {', '.join(files[8:16])}" if fine else f"image {files[9]}"
    with pytest.raises(LrcrError, match=re.escape(f"the loss is nan at {named}; lower train.cfcd.rate")):
        trainer._step(ids, images)


def test_the_image_at_which_listwise_training_diverges_is_named(nine, monkeypatch):
    params = small("apgem", "train.apgem.batch=8", "train.apgem.chunk=3", "train.freeze=backbone")
    trainer = ListwiseTrainer(params, build_model(params).eval(), training_set(open_dataset(nine)), CPU)
    wrong = trainer.images.photos[5]
    monkeypatch.setattr(
        listwise,
        "crop_batches",
        lambda batches, *size: [
            spoil(crop, photos, wrong) for (photos, _), crop in zip(batches, crop_batches(batches, *size), strict=True)
        ],
    )
    with pytest.raises(LrcrError, match=re.escape(f"the loss is nan at image {wrong.path}, of a batch of 8; lower")):
        trainer._step(np.arange(8), np.arange(8))


def spoil(images, photos, wrong):
    images[[photo == wrong for photo in photos]] = torch.nan
    return images


def test_labels_have_epochs_and_crops_of_their_own(tmp_path, nine, monkeypatch):
    seen = []
    monkeypatch.setattr(classification, "crop_batches", lambda *given: seen.append(given[1:]) or crop_batches(*given))
    run(small("cfcd", "train.labels={epochs: 3, crop: 24, area: 0.5}"), nine, tmp_path / "model.pt")
    assert seen == [(24, 0.5)] * 4


def test_a_fixed_head_keeps_scale_and_margin(nine):
    fixed = ("train.cfcd.head=fixed", "train.cfcd.scale=20", "train.cfcd.margin=0.1")
    values = label_trainer(small("cfcd", *fixed), nine).run_epoch(1)
    assert (values["scale"], values["margin"]) == pytest.approx((20, 0.1))


def test_the_rate_rises_and_then_falls_as_half_a_cosine(nine):
    trainer = label_trainer(small("cfcd", "train.cfcd.rate=1", "train.cfcd.warmup=1"), nine)
    seen = []
    for epochs in (0, 1, 2, 4):
        trainer._set_rate(epochs)
        seen.append(trainer.optimizer.param_groups[0]["lr"])
    assert seen == pytest.approx([0.5, 0.5 * (1 + 0.5**0.5), 0.5, 0])


def test_classification_is_learned(nine):
    trainer = label_trainer(small("cfcd", "train.cfcd.batch=18", "train.cfcd.head=fixed"), nine)
    losses = [trainer.run_epoch(epoch)["loss"] for epoch in range(1, 5)]
    assert losses[-1] < 0.8 * losses[0]


def test_listwise_batches_keep_classes_together(nine):
    params = small("apgem", "train.apgem.batch=8")
    trainer = ListwiseTrainer(params, build_model(params), training_set(open_dataset(nine)), CPU)
    first, second = (trainer._draw(np.random.default_rng(seed)) for seed in (0, 1))
    assert [len(batch) for batch in first] == [8, 8, 2]
    for batch in first:
        assert sorted(np.bincount(trainer.classes[batch])[np.bincount(trainer.classes[batch]) > 0]) == [2] * (
            len(batch) // 2
        )
    assert sorted(np.concatenate(second)) == list(range(18)) and not np.array_equal(first[0], second[0])


def test_chunks_do_not_change_a_listwise_step(nine):
    found = []
    for chunk in (3, 10):
        # A trunk's BatchNorm sees one chunk at a time; frozen, the chunks are independent.
        params = small("apgem", f"train.apgem.chunk={chunk}")
        model = build_model(params)
        model.freeze_batchnorm = True
        trainer = ListwiseTrainer(params, model, training_set(open_dataset(nine)), CPU)
        model.train()
        loss = trainer._step(np.arange(10), np.arange(10))
        found.append((loss, model.backbone.trunk.conv1.weight.grad.clone()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-4)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-2, atol=1e-4)


def test_crops_follow_their_seed_and_come_in_order(nine):
    photos = open_dataset(nine).photos()
    batches = [(photos[:3], [1, 2, 3]), (photos[3:5], [4, 5]), (photos[:1], [1])]
    crops = list(crop_batches(batches, 16, 0.08))
    assert [crop.shape for crop in crops] == [(3, 3, 16, 16), (2, 3, 16, 16), (1, 3, 16, 16)]
    assert torch.equal(crops[1][1], random_crop(photos[4], 16, 0.08, 5)) and torch.equal(crops[0][0], crops[2][0])
    assert not torch.equal(random_crop(photos[4], 16, 0.08, 5), random_crop(photos[4], 16, 0.08, 6))


@pytest.mark.parametrize("area", [0.08, 0.5])
@pytest.mark.parametrize(("width", "height"), [(400, 300), (300, 400), (1000, 10)])
def test_boxes_lie_inside_and_cover_the_least_share_to_all(width, height, area):
    rng, shares = np.random.default_rng(0), []
    for _ in range(300):
        x0, y0, x1, y1 = draw_box(width, height, area, rng)
        assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
        assert 3 / 4 - 1e-6 <= (x1 - x0) / (y1 - y0) <= 4 / 3 + 1e-6
        shares.append((x1 - x0) * (y1 - y0) / (width * height))
    if width < 1000:
        assert area <= min(shares) < area + 0.04 and 0.85 < max(shares) <= 1
