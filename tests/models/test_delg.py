from copy import deepcopy
from functools import cache

import pytest
import torch
import torch.nn.functional as F

from lrcr.config.reading import load_params
from lrcr.errors import ParamsError, WeightsError
from lrcr.models.backbone import Backbone
from lrcr.models.delg import DelgModel, LocalBranch, split_last_map
from lrcr.models.descriptors import resize
from lrcr.models.factory import MODEL_SECTIONS, build_model, open_model, save_model
from lrcr.models.inference import ready_for_inference
from lrcr.models.pooling import gem
from lrcr.storage.artifacts import Manifest

SMALL = (
    *("model.name=delg", "backbone.name=resnet18", "backbone.skip_layers=2", "backbone.weights=none"),
    *("backbone.crop_border=0", "pooling.projection=24"),
)


def small(*overrides: str):
    return load_params(overrides=[*SMALL, *overrides])


@cache
def _build(*overrides: str) -> DelgModel:
    return build_model(small(*overrides)).eval()


def build(*overrides: str) -> DelgModel:
    return deepcopy(_build(*overrides))


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["resnet18", "timm/tf_efficientnet_lite0"])
@torch.inference_mode()
def test_both_maps_are_those_of_the_network(name):
    whole = Backbone(name, 32).eval()
    before, last = (part.eval() for part in split_last_map(whole))
    images = draw(1, 3, 64, 96)
    assert before.stride == 16 and before.channels < whole.channels
    torch.testing.assert_close(last(before(images)), whole(images))


def test_a_network_without_a_map_of_half_the_stride_is_refused():
    with pytest.raises(WeightsError, match=r"backbone\.stride: 2, but resnet18 has maps of stride 32, 16, 8, 4"):
        split_last_map(Backbone("resnet18", 4))


@torch.inference_mode()
def test_the_vector_is_that_of_the_last_map():
    model, features = build("backbone.crop_border=1"), draw(2, 64, 6, 5)
    pooled = gem(model.last(features), 3.0)
    expected = F.normalize(pooled @ model.projection.weight.T + model.projection.bias, dim=1)
    torch.testing.assert_close(model.embed(features), expected)
    assert model.dim == 24 and build_model(small("pooling.projection=null")).dim == 128


@torch.inference_mode()
def test_local_descriptors_are_the_codes_with_the_largest_attention():
    model, features = build(), draw(1, 64, 5, 4)
    [found] = model.describe_maps([features], [1.0], 7)
    attention = model.local.attention(features).flatten()
    order = attention.argsort(descending=True)[:7]
    codes = model.local.encoder(features)[0].flatten(1).T[order]
    torch.testing.assert_close(found.descriptors, F.normalize(codes, dim=1))
    torch.testing.assert_close(found.strength, attention[order] / attention.max())
    assert found.descriptors.shape == (7, 32) and found.vector is None


@pytest.mark.parametrize(("channels", "reduced"), [(1024, 128), (256, 128), (112, 56)])
def test_the_code_has_128_channels_or_half_as_many_as_there_are(channels, reduced):
    assert LocalBranch(channels).encoder.out_channels == reduced


@torch.inference_mode()
def test_vector_and_local_descriptors_have_scales_of_their_own():
    model, images = build(), draw(2, 3, 48, 64)
    maps = {scale: model.backbone(resize(images, scale)) for scale in (1.0, 0.7, 0.5)}
    vectors = F.normalize(sum(model.embed(maps[scale]) for scale in (0.7, 0.5)), dim=1)
    local = model.describe_maps([maps[1.0], maps[0.5]], [1.0, 0.5], 20)
    found = model.describe(images, [1.0, 0.5], 20, [0.7, 0.5])
    for image, expected, vector in zip(found, local, vectors, strict=True):
        torch.testing.assert_close(image.vector, vector)
        torch.testing.assert_close(image.descriptors, expected.descriptors)


@torch.inference_mode()
def test_an_image_without_a_location_has_a_vector_of_zeros():
    for found in build().describe(draw(2, 3, 1, 1), [0.5], 5, [0.5]):
        assert found.descriptors.shape == (0, 32)
        assert torch.equal(found.vector, torch.zeros(24))


@pytest.mark.parametrize("signed", [False, True])
def test_the_local_branch_reconstructs_and_pools_what_it_decodes(signed):
    branch, features = LocalBranch(16, signed=signed).eval(), draw(2, 16, 3, 4)
    decoded = branch.decoder(branch.encoder(features))
    decoded = decoded if signed else F.relu(decoded)
    errors, vectors = branch(features)
    torch.testing.assert_close(errors, ((decoded - features) ** 2).flatten(1).mean(dim=1))
    total = (branch.attention(features)[:, None] * F.normalize(decoded, dim=1)).sum(dim=(2, 3))
    torch.testing.assert_close(vectors, F.normalize(total, dim=1))


@pytest.mark.parametrize(
    ("name", "signed"), [("resnet18", False), ("timm/tf_efficientnet_lite0", True), ("timm/regnetx_002", False)]
)
def test_the_decoder_ends_with_relu_where_the_network_does(name, signed):
    model = build(f"backbone.name={name}", "backbone.skip_layers=null")
    assert model.local.signed == signed


def test_the_gradient_of_the_local_branch_stops_before_the_trunk():
    model = build()
    errors, vectors = model.local_branch(model.backbone(draw(2, 3, 32, 32)))
    (errors.sum() + vectors.sum()).backward()
    found = {name.split(".")[0] for name, value in model.named_parameters() if value.grad is not None}
    assert found == {"local"} and all(value.grad is not None for value in model.local.parameters())
    model.zero_grad()
    model(draw(2, 3, 32, 32)).sum().backward()
    found = {name.split(".")[0] for name, value in model.named_parameters() if value.grad is not None}
    assert found == {"backbone", "last", "projection"}


def test_it_comes_back_as_it_was_stored(tmp_path):
    model = build("seed=3")
    save_model(tmp_path / "model.pt", model, Manifest("model", small("seed=3").sections(*MODEL_SECTIONS), {}))
    opened, _ = open_model(tmp_path / "model.pt")
    images = draw(2, 3, 40, 32)
    with torch.inference_mode():
        assert torch.equal(opened(images), model(images))
        fast = ready_for_inference(opened, torch.device("cpu"))
        torch.testing.assert_close(fast(images), model(images), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("frozen", [True, False])
def test_batchnorm_of_both_maps_is_frozen_with_the_trunk(frozen):
    model = build()
    model.freeze_batchnorm = frozen
    model.train()
    assert model.last[0][0].bn1.training is model.backbone.trunk.layer1[0].bn1.training is not frozen
    assert model.local.attention.bn.training


@pytest.mark.parametrize(("stages", "trained"), [(1, ()), (2, ("layer1",))])
def test_freezing_counts_the_stages_of_the_whole_network(stages, trained):
    model = build()
    model.freeze(stages)
    model.train()
    features = model.backbone(draw(2, 3, 64, 64))
    errors, attended = model.local_branch(features)
    (model.embed(features).sum() + errors.sum() + attended.sum()).backward()
    with_gradient = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    later = {name for name, _ in model.named_parameters() if not name.startswith("backbone.")}
    stages = tuple(f"backbone.trunk.{stage}." for stage in trained)
    assert with_gradient == later | {name for name, _ in model.named_parameters() if name.startswith(stages)}


def test_freezing_a_stage_after_the_local_descriptors_is_refused():
    model = build("backbone={name: timm/tf_efficientnet_lite0, stride: 16, weights: none}")
    for stages, accepted in [(1, False), (2, True), (5, True), (6, False)]:
        if accepted:
            model.require_stages(stages)
            continue
        with pytest.raises(WeightsError) as error:
            model.freeze(stages)
        told = "but delg with timm/tf_efficientnet_lite0 trains 2 to 5 stages; choose among them"
        assert str(error.value) == f"train.freeze: {stages}, {told}"


def test_it_reads_pooling_and_no_context():
    params = small("extract.scales=[1.0]")
    assert not {"smoothing", "graph"} & params.sections(*MODEL_SECTIONS).keys()
    assert params.sections("pooling")["pooling"]["projection"] == 24
    assert (params.scales, params.vector_scales) == ([1.0], [0.7071, 1.0, 1.4142])
    assert load_params(overrides=["model.name=gem"]).vector_scales == ()
    assert not params.learns_codebook


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.method=tuples", "train.method: tuples trains no attention module; set it to classification"),
        ("train.freeze=backbone", "train.freeze: backbone would freeze the layers around delg's attention; set it to"),
        ("codebook.whitening=pca", "codebook.whitening: pca would follow delg's layer; set it to none"),
        ("train.validation.by=asmk", "train.validation.by: delg has no local descriptors for asmk; set it to global"),
        ("extract.regions=grid", "extract.regions: delg has no local descriptors; set it to none"),
    ],
)
def test_what_does_not_fit_it_is_refused(override, message):
    with pytest.raises(ParamsError) as error:
        small(override)
    assert message in str(error.value)
