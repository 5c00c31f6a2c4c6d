"""Training the end of a trunk: `train.freeze: N`."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lrcr.config.params import Params
from lrcr.data.dataset import open_dataset
from lrcr.errors import WeightsError
from lrcr.models.backbone import Backbone
from lrcr.training.maps import StoredMaps, TrunkMaps
from lrcr.training.objective import make_objective
from lrcr.training.setup import Setup
from lrcr.training.train import train
from lrcr.training.tuple_trainer import TupleTrainer

from .small import (
    CONTEXT,
    CPU,
    SIZE,
    Killed,
    copy_state,
    kill_after,
    make_setup,
    make_trainer,
    moved,
    run,
    same,
    small,
    small_global,
)
from .small import weights as read_weights

TRUNKS = {
    "resnet18": ("backbone.skip_layers=2", "whitening.dim=8"),
    "timm/tf_efficientnet_lite0": ("backbone.skip_layers=null", "backbone.stride=16", "whitening.dim=8"),
}


def frozen(name: str, *overrides: str, freeze: int = 1) -> Params:
    """Params of a local model of which only the last stages of the trunk, and the context, are trained."""
    return small(f"backbone.name={name}", *TRUNKS[name], f"train.freeze={freeze}", *CONTEXT, *overrides)


def train_one_epoch(setup: Setup, params: Params) -> tuple[float, dict[str, torch.Tensor]]:
    logged = TupleTrainer(setup, params.train.tuples, make_objective(params, setup)).run_epoch(1)
    return logged["loss"], copy_state(setup.model)


@pytest.fixture(scope="module")
def odd(tmp_path_factory, draw_dataset) -> Path:
    """Four landmarks; every photo has a shape of its own, also as a map, so that no two are in one batch.

    In other batches torch rounds differently, and Adam makes large steps of small gradients.
    """
    sizes = [(128, 16 * height) for height in range(2, 9)] + [(16 * width, 128) for width in range(3, 8)]
    labels = [f"landmark {i % 4}" for i in range(12)]
    return draw_dataset(tmp_path_factory.mktemp("data") / "odd", sizes, labels)


@pytest.mark.parametrize("name", TRUNKS)
def test_stored_maps_train_what_maps_computed_each_time_train(name, odd, tmp_path):
    size, tuples = "train.image_size=128", "train.tuples={augmented_versions: 1, negatives: 2, scales: [1.0, 0.5]}"
    params = frozen(name, size, tuples, "train.tuples.learning_rates={backbone: 1e-3, context: 1e-2}")
    computed, stored = (make_setup(params, odd) for _ in range(2))
    before = copy_state(computed.model)
    stored.maps = StoredMaps(stored.model.backbone, 128, CPU, tmp_path / "maps", np.float32)
    loss, expected = train_one_epoch(computed, params)
    found_loss, found = train_one_epoch(stored, params)
    assert found_loss == pytest.approx(loss, rel=1e-5)
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, rtol=1e-5, atol=1e-5)
    changed = moved(before, expected)
    trained = tuple(f"backbone.trunk.{module}." for module in computed.model.backbone.trained)
    of_trunk = {key for key in changed if key.startswith("backbone.")}
    weights = {key for key, _ in computed.model.named_parameters() if key.startswith(trained)}
    assert of_trunk == weights, "all parameters of the last stage, no other and no statistics"
    assert any(key.startswith("smoothing.") for key in changed) and any(key.startswith("graph.") for key in changed)


def test_a_photo_is_passed_through_the_frozen_stages_once_for_each_scale(landmarks, tmp_path):
    """At scale 1, the pool of negatives and the tuples share the maps."""
    params = frozen("resnet18", "train.tuples.scales=[1.0, 0.5]", "train.tuples.negative_pool=9")
    trainer = make_trainer(params, landmarks, tmp_path / "maps")
    seen: list[int] = []
    first = trainer.setup.model.backbone.trunk.get_submodule("conv1")
    first.register_forward_pre_hook(lambda _, inputs: seen.extend([inputs[0].shape[-1]] * len(inputs[0])))
    for epoch in (1, 2, 3):
        trainer.run_epoch(epoch)
    photos = len(trainer.setup.images.photos)
    assert seen.count(SIZE) <= photos and seen.count(SIZE // 2) <= photos and len(seen) > photos
    list(trainer.setup.maps.batches(trainer.setup.images.photos, scales=[0.5, 1.0]))
    assert (seen.count(SIZE), seen.count(SIZE // 2), len(seen)) == (photos, photos, 2 * photos)


def test_stored_values_do_not_depend_on_what_was_stored_before(shapes, tmp_path, threads):
    """As after a kill: a batch may hold other photos."""
    setup = make_setup(frozen("timm/tf_efficientnet_lite0"), shapes)
    photos, contents = setup.images.photos, []
    with threads(2):
        for name, begun in (("a", 0), ("b", 1), ("c", 5)):
            maps = StoredMaps(setup.model.backbone, 128, CPU, tmp_path / name)
            list(maps.batches(photos[:begun]))
            list(maps.batches(photos))
            contents.append({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()})
    assert contents[0] == contents[1] == contents[2] and len(contents[0]) == len(photos)


def test_another_split_has_other_maps_in_the_same_folder(landmarks, tmp_path):
    photos = open_dataset(landmarks).photos()
    found = []
    for trained_stages in (0, 1):
        torch.manual_seed(0)
        backbone = Backbone("resnet18", 16).eval()
        backbone.freeze(trained_stages)
        maps = StoredMaps(backbone, SIZE, CPU, tmp_path, np.float32)
        with torch.no_grad():
            found.append(torch.cat([features for _, [features] in maps.batches(photos)]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
    assert len(list(tmp_path.iterdir())) == 2 * len(photos)


@pytest.mark.usefixtures("changes_rewarded")
@pytest.mark.parametrize("freeze", [1, "backbone"])
def test_a_killed_training_continues_to_the_same_weights(tmp_path, landmarks, freeze):
    params = frozen("resnet18", "train.tuples.augmented_versions=2", freeze=freeze)
    whole = run(params, landmarks, tmp_path / "whole.pt")
    with pytest.raises(Killed):
        train(params, landmarks, None, tmp_path / "killed.pt", log=kill_after(1))
    assert run(params, landmarks, tmp_path / "killed.pt") == whole
    assert same(read_weights(tmp_path / "killed.pt"), read_weights(tmp_path / "whole.pt"))


def test_the_versions_of_an_epoch_are_drawn_by_seed_and_only_for_tuples(landmarks, tmp_path, monkeypatch):
    params = frozen("resnet18", "train.tuples.augmented_versions=2", "train.tuples.queries_per_epoch=1")
    trainer = make_trainer(params, landmarks)
    asked: list[list[int | None]] = []
    batches = TrunkMaps.batches

    def noted(self, photos, *arguments, **settings):
        asked.append([photo.augmentation for photo in photos])
        return batches(self, photos, *arguments, **settings)

    monkeypatch.setattr(TrunkMaps, "batches", noted)
    drawn = []
    for epoch in (1, 2, 1):
        asked.clear()
        trainer.run_epoch(epoch)
        mining, *steps = asked
        assert len(steps) == 1 and set(mining) == {None} and len(mining) > len(steps[0])
        drawn.append([photo.augmentation for photo in trainer.loss.photos])
    assert drawn[0] == drawn[2] != drawn[1]
    assert 0.1 < np.mean([version is None for epoch in drawn for version in epoch]) < 0.6, (
        "a third are photos as they are"
    )
    for versions in zip(*drawn, strict=True):
        assert all(version is None or version not in {*drawn[0]} - {*versions} for version in versions)
    other = make_trainer(frozen("resnet18", "train.tuples.augmented_versions=2", "seed=1"), landmarks)
    other.run_epoch(1)
    assert [photo.augmentation for photo in other.loss.photos] != drawn[0]


def test_without_versions_the_photos_are_as_they_are(landmarks):
    trainer = make_trainer(frozen("resnet18"), landmarks)
    trainer.run_epoch(1)
    assert trainer.loss.photos == trainer.setup.images.photos


@pytest.mark.usefixtures("changes_rewarded")
@pytest.mark.parametrize("model", ["apgem", "cfcd"])
def test_the_other_methods_train_the_last_stages_too(nine, tmp_path, model):
    run(small_global(model, "backbone.skip_layers=2", "train.epochs=0"), nine, tmp_path / "shelf.pt")
    run(small_global(model, "backbone.skip_layers=2", "train.epochs=1", "train.freeze=1"), nine, tmp_path / "a.pt")
    changed = moved(read_weights(tmp_path / "shelf.pt"), read_weights(tmp_path / "a.pt"))
    of_trunk = {key for key in changed if key.startswith("backbone.")}
    assert of_trunk and all(key.startswith("backbone.trunk.layer2.") for key in of_trunk)
    assert any("running" in key for key in of_trunk) == (model == "cfcd"), "as published, CFCD trains BatchNorm"


def test_more_stages_than_the_trunk_has_are_refused(landmarks, tmp_path):
    with pytest.raises(WeightsError) as error:
        train(frozen("resnet18", freeze=3), landmarks, None, Path(tmp_path / "model.pt"))
    assert str(error.value) == "train.freeze: 3, but resnet18 at stride 8 has 2 stages; lower it"
    assert not (tmp_path / "model.pt").exists()
