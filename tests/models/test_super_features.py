"""Iterated attention, and the model of super-features."""

import numpy as np
import pytest
import torch

from lrcr.models.backbone import Backbone
from lrcr.models.pooling import attention_pool
from lrcr.models.super_feature_model import SuperFeatureModel
from lrcr.models.super_features import IteratedAttention, MeanSuperFeature
from lrcr.models.whitening import Whitening

NAMES = {"project_q": "query", "project_k": "key", "project_v": "value"}
"""Names of layers in the reference implementation that differ."""


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make_attention(channels: int = 6, templates: int = 5, dim: int = 8, iterations: int = 3) -> IteratedAttention:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return IteratedAttention(channels, templates, dim, iterations)


def make_model(border: int = 0) -> SuperFeatureModel:
    """A model of maps of 64 channels, whose whitening is not the first it is built with."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone, whitening = Backbone("resnet18", skip_layers=3), Whitening(8, 3)
        whitening.assign(*(draw(*shape, seed=1).numpy() for shape in ((3, 8), (3,))))
        return SuperFeatureModel(backbone, make_attention(64), whitening, border=border, freeze_batchnorm=True).eval()


@torch.no_grad()
def test_super_features_against_the_reference(fixtures):
    with np.load(fixtures / "fire.npz") as parity:
        weights = {name.removeprefix("weight."): parity[name] for name in parity.files if name.startswith("weight.")}
        features, iterations = torch.from_numpy(parity["feature_map"]), int(parity["iterations"])
        super_features, attention = parity["super_features"], parity["attention"]
    layer = IteratedAttention(features.shape[1], 16, 32, iterations)
    state = {"templates": torch.from_numpy(weights.pop("templates_init")[0])}
    for name, values in weights.items():
        first, _, rest = name.partition(".")
        state[f"{NAMES.get(first, first)}.{rest}"] = torch.from_numpy(values)
    layer.load_state_dict(state)
    found = layer(features)
    np.testing.assert_allclose(found.features, super_features, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.attention, attention, rtol=0, atol=1e-5)


def test_attention_of_each_template_sums_to_one_and_templates_compete():
    layer, features = make_attention(iterations=1), draw(2, 6, 4, 5)
    found = layer(features)
    assert found.features.shape == (2, 5, 8) and found.attention.shape == (2, 5, 4, 5)
    torch.testing.assert_close(found.attention.sum(dim=(2, 3)), torch.ones(2, 5))
    with torch.no_grad():
        layer.templates[0] = layer.templates[1]
    twice = layer(features)
    torch.testing.assert_close(twice.features[:, 0], twice.features[:, 1])
    assert not torch.allclose(twice.attention[:, 2:], found.attention[:, 2:]), "what one wins the others lose"


def test_every_weight_gets_a_gradient():
    layer = make_attention()
    (layer(draw(2, 6, 4, 5)).features * draw(5, 8, seed=1)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in layer.parameters())


def test_locations_may_stand_in_any_order():
    layer, features = make_attention(), draw(1, 6, 4, 5)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    moved = layer(features.flatten(2)[..., order].view(1, 6, 4, 5))
    found = layer(features)
    torch.testing.assert_close(moved.features, found.features)
    torch.testing.assert_close(moved.attention.flatten(2), found.attention.flatten(2)[..., order])


def test_the_pooling_of_pretraining_is_the_mean_of_the_super_features():
    layer, features = make_attention(), draw(2, 6, 4, 5)
    pool = MeanSuperFeature(layer)
    torch.testing.assert_close(pool(features), layer(features).features.mean(dim=1))
    assert {id(parameter) for parameter in pool.parameters()} == {id(parameter) for parameter in layer.parameters()}


@torch.no_grad()
def test_the_training_descriptor_weighs_whitened_super_features_by_their_norm():
    model, maps = make_model(), draw(2, 64, 6, 7)
    found = model.super_features(maps).features
    weighted = (model.whitening(found) * found.norm(dim=-1, keepdim=True)).sum(dim=1)
    torch.testing.assert_close(model.embed(maps), weighted / weighted.norm(dim=1, keepdim=True))
    locations = model.whitening(found).mT[..., None], found.norm(dim=-1)[..., None]
    torch.testing.assert_close(model.embed(maps), attention_pool(*locations))


@torch.no_grad()
def test_the_strongest_of_all_scales_are_described():
    model, maps = make_model(), [draw(2, 64, 6, 7), draw(2, 64, 3, 4, seed=1)]
    found = [model.super_features(features) for features in maps]
    norms = torch.cat([one.features.norm(dim=-1) for one in found], dim=1)
    for row, own in enumerate(model.describe_maps(maps, [1.0, 0.5], 7)):
        order = norms[row].argsort(descending=True)[:7]
        torch.testing.assert_close(own.strength, norms[row, order] / norms[row].max())
        whitened = model.whitening(torch.cat([one.features[row] for one in found]))
        torch.testing.assert_close(own.descriptors, whitened[order])
        assert own.scale.tolist() == [1.0 if index < 5 else 0.5 for index in order.tolist()]
    every = model.describe_maps(maps, [1.0, 0.5], 100)
    assert [len(own.descriptors) for own in every] == [10, 10]


@pytest.mark.parametrize("border", [0, 1])
@torch.no_grad()
def test_the_position_is_the_centroid_of_the_attention(border):
    model, maps = make_model(border), draw(1, 64, 6, 8)
    [own] = model.describe_maps([maps], [1.0], 5)
    found = model.find(maps)
    assert found.attention.shape == (1, 5, 6 - 2 * border, 8 - 2 * border)
    order = found.features[0].norm(dim=-1).argsort(descending=True)
    for xy, attention in zip(own.position, found.attention[0][order], strict=True):
        x = sum(float(attention[:, i].sum()) * (i + border + 0.5) / 8 for i in range(attention.shape[1]))
        y = sum(float(attention[i].sum()) * (i + border + 0.5) / 6 for i in range(attention.shape[0]))
        torch.testing.assert_close(xy, torch.tensor([x, y]))


@torch.inference_mode()
def test_an_image_of_which_nothing_is_left_has_no_super_features():
    [none] = make_model(border=1).describe(draw(1, 3, 3, 40), [0.25], 5)
    assert none.descriptors.shape == (0, 3) and none.position.shape == (0, 2) and none.scale.shape == (0,)
