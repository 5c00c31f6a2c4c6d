from copy import deepcopy
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.errors import ArtifactError, WeightsError
from lrcr.models.backbone import Backbone
from lrcr.models.descriptors import resize
from lrcr.models.factory import MODEL_SECTIONS, build_model, open_local_model, open_model, save_model
from lrcr.models.global_model import RMAC, GlobalModel, SPoC
from lrcr.models.inference import ready_for_inference
from lrcr.models.pooling import gem, mac, rmac, spoc
from lrcr.models.whitening import Centring, Whitening
from lrcr.storage.artifacts import Manifest

NAMES = ["mac", "spoc", "gem", "rmac", "solar", "apgem", "cfcd"]
CPU = torch.device("cpu")
TIMM = ("backbone={name: timm/tf_efficientnet_lite0, stride: 16, skip_layers: null}",)


def small(name: str, *overrides: str) -> Params:
    settings = ("backbone.name=resnet18", "backbone.skip_layers=2", "backbone.weights=none", f"model.name={name}")
    return load_params(overrides=[*settings, *overrides])


@cache
def _build(name: str, *overrides: str) -> GlobalModel:
    return build_model(small(name, *overrides))


def build(name: str, *overrides: str) -> GlobalModel:
    """A small model; its weights are drawn once for all tests, which takes most of the time."""
    return deepcopy(_build(name, *overrides))


def draw(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", NAMES)
@torch.inference_mode()
def test_a_vector_is_the_pooled_map(name):
    """Off the shelf every model is its pooling; SOLAR's attention starts as the identity."""
    model = build(name).eval()
    features = model.backbone(draw(2, 50, 70))
    pooled = {"mac": mac, "spoc": spoc, "rmac": rmac}.get(name, gem)(features)
    if name == "cfcd":
        layer, norm = model.projection
        pooled = layer(pooled) / (1 + norm.eps) ** 0.5
        assert pooled.shape == (2, 512)
    torch.testing.assert_close(model(draw(2, 50, 70)), F.normalize(pooled, dim=1))
    assert model.dim == pooled.shape[1]


@pytest.mark.parametrize("name", ["spoc", "solar", "cfcd"])
@torch.inference_mode()
def test_the_vector_of_several_scales_is_the_normalised_mean(name):
    model, scales = build(name).eval(), [0.5, 1.0, 1.4142]
    images = draw(3, 40, 56)
    found = model.describe(images, scales, 1)
    mean = torch.stack([model(resize(images, scale)) for scale in scales]).mean(dim=0)
    for own, vector in zip(found, F.normalize(mean, dim=1), strict=True):
        torch.testing.assert_close(own.descriptors, vector[None])
        assert (own.strength.tolist(), own.position.tolist(), own.scale.tolist()) == ([1.0], [[0.5, 0.5]], [1.0])


@torch.inference_mode()
def test_the_vector_of_several_scales_may_be_the_maximum():
    model, scales = build("gem", "pooling.over_scales=max", "pooling.regional=true").eval(), [0.5, 1.0, 1.4142]
    images = draw(3, 40, 56)
    maximum = torch.stack([model(resize(images, scale)) for scale in scales]).amax(dim=0)
    for own, vector in zip(model.describe(images, scales, 1), F.normalize(maximum, dim=1), strict=True):
        torch.testing.assert_close(own.descriptors, vector[None])
    assert (model.pooling.regional, build("gem", "pooling.clamp=0.1").pooling.clamp) == (True, 0.1)


@torch.inference_mode()
def test_rmac_gives_the_regions_of_all_scales_and_their_sum_is_its_vector():
    model = build("rmac").eval()
    images = draw(2, 64, 96)
    for row, own in enumerate(model.describe(images, [1.0], 1)):
        torch.testing.assert_close(own.descriptors.norm(dim=1), torch.ones(len(own.descriptors)))
        torch.testing.assert_close(F.normalize(own.descriptors.sum(dim=0), dim=0), model(images)[row])
    [both, _] = model.describe(images, [1.0, 0.5], 1)
    [one, _] = model.describe(images, [1.0], 1)
    assert len(both.descriptors) > len(one.descriptors) > 10
    assert set(both.scale.tolist()) == {1.0, 0.5} and both.position.unique().tolist() == [0.5]


@torch.inference_mode()
def test_scales_at_which_nothing_is_left_are_skipped():
    model = build("gem").eval()
    images = draw(1, 3, 40)
    [one], [both] = (model.describe(images, scales, 1) for scales in ([1.0], [0.25, 1.0]))
    torch.testing.assert_close(one.descriptors, both.descriptors)
    [none] = model.describe(images, [0.25], 1)
    assert none.descriptors.shape == (0, 128) and none.position.shape == (0, 2)


@pytest.mark.parametrize("name", NAMES)
def test_every_model_comes_back_as_it_was_stored(tmp_path, name):
    overrides = ["pooling.projection=24"] if name == "solar" else []
    params, model = small(name, *overrides), build(name, *overrides)
    generator = torch.Generator().manual_seed(1)
    state = {
        key: value + 0.01 * torch.rand(value.shape, generator=generator) if value.is_floating_point() else value
        for key, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    save_model(tmp_path / "model.pt", model.eval(), Manifest("model", params.sections(*MODEL_SECTIONS), {}))
    opened, _ = open_model(tmp_path / "model.pt")
    with torch.inference_mode():
        assert torch.equal(opened(draw(2, 40, 40)), model(draw(2, 40, 40)))
        fast = ready_for_inference(opened, CPU)
        torch.testing.assert_close(fast(draw(2, 40, 40)), model(draw(2, 40, 40)), rtol=1e-3, atol=1e-4)
    with pytest.raises(ArtifactError, match=f"a model of kind {name} has no maps to draw"):
        open_local_model(tmp_path / "model.pt")


@torch.inference_mode()
def test_the_border_is_cropped_by_local_models_only():
    images = torch.rand(1, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    whole, inner = (build("gem", f"backbone.crop_border={border}").eval()(images) for border in (0, 1))
    assert torch.equal(inner, whole)


@pytest.mark.parametrize(
    ("network", "stages", "channels"),
    [
        (("backbone.skip_layers=1",), ("layer2", "layer3"), (128, 256)),
        (TIMM, ("network.blocks.3", "network.blocks.4"), (80, 112)),
    ],
)
@torch.inference_mode()
def test_solar_attends_behind_each_of_the_last_two_stages(network, stages, channels):
    solar, gem = (build(name, *network).eval() for name in ("solar", "gem"))
    last = [solar.backbone.trunk.get_submodule(stage) for stage in stages]
    blocks = [stage.second_order_attention for stage in last]
    assert [block.output.out_channels for block in blocks] == list(channels)
    assert [block.output.in_channels for block in blocks] == [channels[0] // 4, channels[1] // 2]
    gem.load_state_dict({name: value for name, value in solar.state_dict().items() if "attention" not in name})
    images = draw(1, 64, 64)
    torch.testing.assert_close(solar(images), gem(images))
    for stage, block, seed in zip(last, blocks, (0, 1), strict=True):
        block.output.weight.normal_(std=0.1, generator=torch.Generator().manual_seed(seed))
        seen = []
        with stage.register_forward_hook(lambda _stage, _inputs, maps, seen=seen: seen.append(maps)):
            changed = solar(images)
        alone = list(stage)[:-1]
        with alone[-1].register_forward_hook(lambda _part, _inputs, maps, seen=seen: seen.append(maps)):
            solar(images)
        torch.testing.assert_close(seen[0], block(seen[1]))
        assert (changed @ gem(images).T).item() < 0.9999
    assert len(solar.parts()["attention"]) == sum(len(list(block.parameters())) for block in blocks)


def test_solar_refuses_a_network_without_stages():
    with pytest.raises(WeightsError, match="solar attends between stages, which vit_b_16 has not"):
        build("solar", "backbone={name: vit_b_16, stride: null, skip_layers: null, weights: none}")


def test_a_projection_follows_gem_where_it_is_asked_for():
    assert isinstance(build("gem").projection, nn.Identity)
    model = build("gem", "pooling.projection=24")
    assert isinstance(model.projection, Whitening) and model.dim == 24
    assert build("cfcd", "pooling.projection=32").dim == 32
    centred = build("apgem")
    assert isinstance(centred.projection, Centring) and centred.dim == 128
    assert type(build("apgem", "pooling.projection=24").projection) is Whitening


def test_power_is_learned_but_for_cfcd():
    learned = {name: "pooling.p" in dict(build(name).named_parameters()) for name in NAMES}
    assert learned == {name: name in ("gem", "solar", "apgem") for name in NAMES}


def test_frozen_batchnorm_of_the_trunk_keeps_its_statistics_and_that_of_the_projection_does_not():
    trunk = Backbone("resnet18", skip_layers=3)
    projection = nn.Sequential(nn.Linear(64, 8), nn.BatchNorm1d(8))
    model = GlobalModel(trunk, SPoC(), projection, 8, freeze_batchnorm=True).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model(draw(4, 32, 32))
    moved = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert moved == {f"projection.1.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}


@pytest.mark.parametrize("name", NAMES)
def test_every_part_of_a_model_gets_a_gradient(name):
    model = build(name).train()
    (model(draw(4, 64, 64)) * torch.arange(model.dim)).sum().backward()
    without = [key for key, value in model.named_parameters() if value.grad is None]
    assert not without
    assert np.isfinite([value.grad.norm().item() for value in model.parameters()]).all()


def test_regions_follow_the_params():
    model = build("rmac", "pooling.levels=1")
    assert isinstance(model.pooling, RMAC) and model.pooling.regions(torch.rand(1, 4, 9, 9)).shape == (1, 2, 4)
