from copy import deepcopy
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lrcr.config.reading import load_params
from lrcr.errors import ArtifactError, ParamsError
from lrcr.models.delf import DelfModel
from lrcr.models.factory import MODEL_SECTIONS, build_model, open_local_model, open_model, save_model
from lrcr.models.inference import ready_for_inference
from lrcr.storage.artifacts import Manifest

SMALL = (
    *("model.name=delf", "backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none"),
    *("backbone.crop_border=0", "whitening.dim=16"),
)


def small(*overrides: str):
    return load_params(overrides=[*SMALL, *overrides])


@cache
def _build(*overrides: str) -> DelfModel:
    return build_model(small(*overrides)).eval()


def build(*overrides: str) -> DelfModel:
    return deepcopy(_build(*overrides))


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def test_descriptors_are_the_reduced_unit_features_with_the_largest_attention():
    model = build()
    model.whitening.assign(*(draw(*shape, seed=2).numpy() for shape in ((16, 64), (16,))))
    maps = [draw(2, 64, 5, 4), draw(2, 64, 3, 2, seed=1)]
    found = model.describe_maps(maps, [1.0, 0.5], 9)
    for image, described in enumerate(found):
        located = [
            (float(model.attention(features)[image, y, x]), features[image, :, y, x], (x, y), features.shape[2:], scale)
            for features, scale in zip(maps, (1.0, 0.5), strict=True)
            for y in range(features.shape[2])
            for x in range(features.shape[3])
        ]
        located.sort(key=lambda location: -location[0])
        for row, (attention, feature, (x, y), (height, width), scale) in enumerate(located[:9]):
            reduced = model.whitening.weight @ (feature / feature.norm()) + model.whitening.bias
            torch.testing.assert_close(described.descriptors[row], reduced / reduced.norm())
            assert float(described.strength[row]) == pytest.approx(attention / located[0][0])
            assert described.position[row].tolist() == pytest.approx([(x + 0.5) / width, (y + 0.5) / height])
            assert float(described.scale[row]) == scale
        assert len(described.descriptors) == 9 and {scale for *_, scale in located[:9]} == {1.0, 0.5}


@torch.inference_mode()
def test_the_training_descriptor_is_the_sum_of_attention_and_unit_features():
    model, features = build(), draw(2, 64, 5, 4)
    total = (model.attention(features)[:, None] * features / features.norm(dim=1, keepdim=True)).sum(dim=(2, 3))
    torch.testing.assert_close(model.embed(features), F.normalize(total, dim=1))


@torch.inference_mode()
def test_the_border_is_cropped():
    model, features = build("backbone.crop_border=1"), draw(1, 64, 6, 5)
    torch.testing.assert_close(model.embed(features), build().embed(features[:, :, 1:-1, 1:-1]))
    [found] = model.describe_maps([features], [1.0], 99)
    assert len(found.descriptors) == 4 * 3
    assert found.position.min(dim=0).values.tolist() == pytest.approx([1.5 / 5, 1.5 / 6])


@torch.inference_mode()
def test_a_map_without_locations_has_no_descriptors():
    for found in build().describe(draw(2, 3, 1, 1), [0.5], 5):
        assert found.descriptors.shape == (0, 16) and found.position.shape == (0, 2)


@pytest.mark.parametrize(("asked", "kept"), [(16, 16), (64, 64), (65, 64), (128, 64)])
def test_of_fewer_channels_the_largest_multiple_of_32_dimensions_are_kept(asked, kept):
    assert len(build(f"whitening.dim={asked}").whitening.bias) == kept


def test_it_comes_back_as_it_was_stored(tmp_path):
    model = build("seed=3")
    model.attention.bn.running_mean.copy_(draw(512))
    model.whitening.assign(np.ones((16, 64), np.float32), np.ones(16, np.float32))
    save_model(tmp_path / "model.pt", model, Manifest("model", small("seed=3").sections(*MODEL_SECTIONS), {}))
    opened, _ = open_model(tmp_path / "model.pt")
    images = draw(2, 3, 40, 32)
    with torch.inference_mode():
        expected = model.describe(images, [1.0], 5)
        for network in (opened, ready_for_inference(deepcopy(opened), torch.device("cpu"))):
            for found, own in zip(network.describe(images, [1.0], 5), expected, strict=True):
                torch.testing.assert_close(found.strength, own.strength, rtol=1e-3, atol=1e-4)
    with pytest.raises(ArtifactError, match="a model of kind delf has no maps to draw; name one of kind local"):
        open_local_model(tmp_path / "model.pt")


def test_attention_without_gradient_stays_in_evaluation_mode():
    model = build()
    assert model.train().attention.training
    model.attention.requires_grad_(False)
    assert not model.train().attention.training and model.training
    assert not model.eval().attention.training


def test_tuples_do_not_train_it():
    message = "train.method: tuples trains no attention module; set it to classification"
    with pytest.raises(ParamsError, match=message):
        small("train.method=tuples")


def test_it_reads_neither_context_nor_pooling():
    assert not {"smoothing", "graph", "pooling"} & small().sections(*MODEL_SECTIONS).keys()
    assert small().validation == "asmk" and small().fit_scales == [1.0]
