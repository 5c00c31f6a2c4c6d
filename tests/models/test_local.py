from copy import deepcopy
from dataclasses import fields, replace
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lrcr.config.reading import load_params
from lrcr.data.dataset import Photo
from lrcr.features.extractor import ExtractSettings, extract_photos
from lrcr.models.attention import l2_attention
from lrcr.models.backbone import Backbone
from lrcr.models.descriptors import ImageDescriptors, resize
from lrcr.models.factory import build_model
from lrcr.models.local import LocalModel
from lrcr.models.smoothing import AverageSmoothing, centre_share
from lrcr.models.whitening import Whitening
from lrcr.training.descriptors import describe_globally
from lrcr.training.maps import TrunkMaps

CPU = torch.device("cpu")


def assemble(backbone: nn.Module, channels: int, dim: int, freeze_batchnorm: bool = True) -> LocalModel:
    model = LocalModel(
        backbone, nn.Identity(), AverageSmoothing(3), Whitening(channels, dim), freeze_batchnorm=freeze_batchnorm
    )
    return model.eval()


@pytest.fixture
def parity(fixtures):
    """HOW's numbers after the trunk, and the model that should reproduce them."""
    with np.load(fixtures / "how_layers.npz") as file:
        numbers = dict(file)
    model = assemble(nn.Identity(), 32, 16)
    model.whitening.assign(numbers["whiten_weight"], numbers["whiten_bias"])
    maps = [torch.from_numpy(numbers[f"map_{i}"])[None] for i in range(3)]
    return numbers, model, maps


@pytest.fixture(scope="module")
def network() -> LocalModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return assemble(Backbone("resnet18", skip_layers=3), 64, 16)


SMALL = (
    *("backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none", "backbone.crop_border=0"),
    *("smoothing.kind=average", "whitening.dim=16"),
)


@cache
def _build(*overrides: str) -> LocalModel:
    return build_model(load_params(overrides=[*SMALL, *overrides])).eval()


def build(*overrides: str) -> LocalModel:
    """A small model; its weights are drawn once for all tests, which takes most of the time."""
    return deepcopy(_build(*overrides))


def draw(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def assert_same(found: ImageDescriptors, expected: ImageDescriptors) -> None:
    for field in fields(ImageDescriptors):
        torch.testing.assert_close(getattr(found, field.name), getattr(expected, field.name), rtol=1e-5, atol=1e-6)


@torch.inference_mode()
def test_strongest_descriptors_against_the_reference(parity):
    numbers, model, maps = parity
    [found] = model.describe_maps(maps, numbers["scales"].tolist(), 200)
    np.testing.assert_allclose(found.strength, numbers["strength"], rtol=1e-4)
    np.testing.assert_allclose(found.scale, numbers["descriptor_scale"], rtol=1e-3)
    np.testing.assert_allclose(found.descriptors, numbers["descriptors"], rtol=1e-3, atol=1e-4)
    width_height = {round(float(s), 3): m.shape[:1:-1] for s, m in zip(numbers["scales"], maps, strict=True)}
    sizes = np.array([width_height[round(float(scale), 3)] for scale in found.scale])
    np.testing.assert_allclose(found.position.numpy() * sizes - 0.5, numbers["grid_xy"], atol=1e-4)


@torch.inference_mode()
def test_training_descriptor_against_the_reference(parity):
    numbers, model, maps = parity
    vector = model.embed(maps[1])[0].numpy()
    np.testing.assert_allclose(vector, numbers["training_descriptor_map_1"], atol=1e-5)
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


@torch.inference_mode()
def test_unwhitened_descriptors_are_the_smoothed_features(parity):
    numbers, model, maps = parity
    [whitened] = model.describe_maps(maps, numbers["scales"].tolist(), 50)
    [found] = model.describe_maps(maps, numbers["scales"].tolist(), 50, whiten=False)
    assert found.descriptors.shape == (50, 32)
    torch.testing.assert_close(model.whitening(found.descriptors), whitened.descriptors)
    smoothed = model.smoothing(maps[0])[0].flatten(1).T
    first = found.descriptors[found.scale == 1.414]
    assert all(torch.isclose(smoothed, row, rtol=1e-5).all(dim=1).any() for row in first) and len(first)


def test_attention_is_the_norm_of_the_feature():
    features = np.random.default_rng(0).normal(size=(2, 5, 3, 4))
    expected = np.sqrt((features**2).sum(axis=1))
    np.testing.assert_allclose(l2_attention(torch.from_numpy(features)), expected, rtol=1e-12)


@torch.inference_mode()
def test_strength_is_relative_to_the_strongest_over_all_scales(network):
    scales = [1.0, 0.5]
    found = network.describe(draw(2, 40, 56), scales, 1000)
    for image, local in zip(draw(2, 40, 56), found, strict=True):
        maps = [
            network.backbone(image[None]),
            network.backbone(nn.functional.interpolate(image[None], size=(20, 28), mode="bilinear")),
        ]
        attention = np.concatenate([l2_attention(m).ravel().numpy() for m in maps])
        assert len(local.strength) == len(attention) == 10 * 14 + 5 * 7
        np.testing.assert_allclose(local.strength, np.sort(attention)[::-1] / attention.max(), rtol=1e-5)
        assert ((local.position > 0) & (local.position < 1)).all()
        assert sorted(set(local.scale.tolist())) == [0.5, 1.0]


@torch.inference_mode()
def test_fewer_are_the_first_of_more(network):
    [all_of_them], [ten] = (network.describe(draw(1, 40, 56), [1.0, 0.5], count) for count in (1000, 10))
    first = {name: values[:10] for name, values in vars(all_of_them).items() if name != "vector"}
    assert_same(ten, ImageDescriptors(**first))


@torch.inference_mode()
def test_a_batch_equals_its_images_one_by_one(network):
    images = draw(4, 40, 56)
    images[2] = images[0]
    batch = network.describe(images, [1.414, 1.0, 0.5], 60)
    for image, found in zip(images, batch, strict=True):
        assert_same(found, network.describe(image[None], [1.414, 1.0, 0.5], 60)[0])
    assert_same(batch[0], batch[2])
    torch.testing.assert_close(network(images)[1], network(images[1:2])[0])


@torch.inference_mode()
@pytest.mark.parametrize("size", [(1, 1), (3, 40), (40, 3), (2, 2)])
def test_scales_without_a_pixel_are_skipped(network, size):
    [found] = network.describe(draw(1, *size), [1.0, 0.25], 1000)
    assert set(found.scale.tolist()) == {1.0}
    assert torch.isfinite(found.descriptors).all()


@torch.inference_mode()
@pytest.mark.parametrize("smoothing", [AverageSmoothing(3), AverageSmoothing(1)])
def test_an_image_whose_scales_all_vanish_has_no_descriptors(network, smoothing):
    model = LocalModel(network.backbone, nn.Identity(), smoothing, network.whitening, freeze_batchnorm=True)
    for found in model.describe(draw(2, 3, 40), [0.25, 0.125], 10):
        assert found.descriptors.shape == (0, 16)
        assert (found.strength.shape, found.position.shape, found.scale.shape) == ((0,), (0, 2), (0,))


@torch.inference_mode()
def test_black_features_stay_finite(network):
    [found] = network.describe_maps([torch.zeros(1, 64, 3, 4)], [1.0], 5)
    assert (found.strength == 0).all() and torch.isfinite(found.descriptors).all()
    # Equal strengths stand in the order of the map.
    torch.testing.assert_close(found.position[:, 0] * 4 - 0.5, torch.tensor([0.0, 1, 2, 3, 0]))


def test_gradients_reach_the_trunk_and_the_whitening():
    model = assemble(nn.Conv2d(3, 6, 3), 6, 4)
    model(draw(2, 8, 8))[:, 0].sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


@pytest.mark.parametrize("frozen", [True, False])
def test_batchnorm_keeps_its_statistics_only_if_frozen(frozen):
    model = assemble(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()), 3, 2, freeze_batchnorm=frozen)
    norm = model.backbone[0]
    assert model.train() is model
    model(draw(2, 8, 8) + 5)
    assert (norm.running_mean == 0).all() == frozen
    assert model.training and norm.training != frozen
    assert not model.eval().training and not norm.training


@pytest.fixture(scope="module")
def how_photos(test_data):
    """The whole of HOW on two photos, and the model that should reproduce it."""
    with np.load(test_data / "parity" / "how_photos.npz") as file:
        numbers = dict(file)
    weights = test_data / "weights" / "resnet18-imagenet-to-layer3.npz"
    params = load_params(
        overrides=[
            *("backbone.name=resnet18", "backbone.skip_layers=1", "backbone.crop_border=0"),
            *("smoothing.kind=average", "whitening.dim=128"),
            f"backbone.weights={weights}",
            f"whitening.file={test_data / 'parity' / 'how_photos.npz'}",
        ]
    )
    return numbers, build_model(params).eval(), [test_data / "photos" / "images" / name for name in numbers["names"]]


def extract(model, numbers, photos):
    size, scales = int(numbers["image_size"]), numbers["scales"].tolist()
    return extract_photos(model, photos, ExtractSettings(size, scales, 300), CPU)


def compare(rows, descriptors, strength):
    """Pair the rows by descriptor, for neighbours in strength may change places; return the pairs."""
    np.testing.assert_allclose(rows.strength, strength, atol=1e-4)
    distance = np.linalg.norm(rows.descriptors[:, None] - descriptors[None], axis=2)
    pairs = distance.argmin(axis=1)
    assert len(set(pairs)) == len(pairs)
    norm = np.linalg.norm(descriptors, axis=1)
    assert (distance.min(axis=1) < 1e-3 * norm[pairs]).all()
    return pairs


def in_original_pixels(path, grid, scale):
    """The contract, from the file: (grid + 0.5) · size / map."""
    with Image.open(path) as image:
        size = np.array(image.size)
        image.thumbnail((512, 512))
        scaled = np.floor(np.array(image.size) * scale[:, None])
    return (grid + 0.5) * size / np.ceil(scaled / 16)


def test_whole_of_how_on_photos_against_the_reference(how_photos):
    numbers, model, paths = how_photos
    found = extract(model, numbers, [Photo(path) for path in paths])
    for image, path in enumerate(paths):
        rows = found.take([image])
        pairs = compare(rows, numbers[f"descriptors_{image}"], numbers[f"strength_{image}"])
        scale, grid = numbers[f"scale_{image}"][pairs], numbers[f"grid_xy_{image}"][pairs]
        np.testing.assert_allclose(rows.scale, scale, rtol=1e-3)
        np.testing.assert_allclose(rows.xy, in_original_pixels(path, grid, scale), atol=0.01)


def test_a_query_crop_against_the_reference(how_photos):
    numbers, model, paths = how_photos
    x0, y0, x1, y1 = (float(value) for value in numbers["crop_bbox"])
    found = extract(model, numbers, [Photo(paths[0], (x0, y0, x1, y1))])
    compare(found, numbers["crop_descriptors"], numbers["crop_strength"])
    scaled = np.floor(np.array([x1 - x0, y1 - y0]) * found.scale.astype(float)[:, None].round(3))
    grid = (found.xy - [x0, y0]) * np.ceil(scaled / 16) / [x1 - x0, y1 - y0] - 0.5
    np.testing.assert_allclose(grid, grid.round(), atol=1e-3)
    assert (found.xy > [x0, y0]).all() and (found.xy < [x1, y1]).all()


def test_training_descriptors_of_photos_against_the_reference(how_photos):
    numbers, model, paths = how_photos
    maps = TrunkMaps(model.backbone, int(numbers["image_size"]), CPU)
    vectors = describe_globally(model, maps, [Photo(path) for path in paths]).numpy()
    expected = np.stack([numbers["training_descriptor_0"], numbers["training_descriptor_1"]])
    np.testing.assert_allclose(vectors, expected, atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("graph", ["gcn", "attention"])
@pytest.mark.parametrize("says", [("output=reweight",), ("output=refine",), ("output=refine", "attention_from=after")])
def test_context_starts_as_how(kernel, graph, says):
    """Untrained, learnable smoothing and graph leave every descriptor as HOW makes it."""
    how = build(f"smoothing.kernel={kernel}")
    context = ("smoothing.kind=learnable", f"graph.kind={graph}", *(f"graph.{setting}" for setting in says))
    model = build(f"smoothing.kernel={kernel}", *context)
    model.load_state_dict({**model.state_dict(), **how.state_dict()})
    [expected], [found] = (m.describe(draw(1, 40, 56), [1.0, 0.5], 100) for m in (how, model))
    torch.testing.assert_close(found.descriptors, expected.descriptors, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.strength, expected.strength, rtol=1e-5, atol=1e-6)


@torch.inference_mode()
def test_attention_from_before_or_after_the_graph(network):
    double = nn.Sequential(nn.Conv2d(64, 64, 1, bias=False))
    double[0].weight.copy_(2 * torch.eye(64)[:, :, None, None])
    for attention_from, factor in (("before", 1), ("after", 2)):
        model = LocalModel(
            network.backbone,
            double,
            AverageSmoothing(3),
            network.whitening,
            attention_from=attention_from,
            freeze_batchnorm=True,
        )
        features = draw(1, 8, 8).repeat(1, 22, 1, 1)[:, :64]
        context = model.context(features)
        torch.testing.assert_close(context.attention, factor * l2_attention(features))
        torch.testing.assert_close(context.refined, 2 * features)
        torch.testing.assert_close(model.smoothed(context), AverageSmoothing(3)(2 * features))


@torch.inference_mode()
def test_gate_and_share_multiply_attention_and_leave_the_features():
    model = build("smoothing.kind=learnable", "smoothing.attention=share", "graph.kind=gcn")
    for i, parameter in enumerate([*model.graph.parameters(), *model.smoothing.parameters()]):
        parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(i)))
    features = model.backbone(draw(1, 40, 56))
    gate, share = model.graph.gate(features), centre_share(model.smoothing.filter(features), 3)
    assert gate.std() > 0.01 and share.std() > 0.01
    context = model.context(features)
    torch.testing.assert_close(context.attention, l2_attention(features) * gate * share)
    torch.testing.assert_close(context.refined, features)
    torch.testing.assert_close(model.smoothed(context), model.smoothing(features))


def test_candidates_are_the_strongest_of_all_scales_and_half_sure_at_the_last_selected(network):
    pyramid = [network.context(network.backbone(resize(draw(1, 40, 56), scale))) for scale in (1.0, 0.5)]
    found = network.candidates(pyramid, 40)
    maps = [network.backbone(resize(draw(1, 40, 56), scale)) for scale in (1.0, 0.5)]
    [expected] = network.describe_maps(maps, [1.0, 0.5], 64)
    torch.testing.assert_close(found.descriptors, expected.descriptors, rtol=1e-4, atol=1e-5)
    probability = found.selection_probability
    assert len(probability) == 64 and probability[39].item() == pytest.approx(0.5, abs=1e-4)
    assert (probability.diff() <= 1e-6).all() and probability[0] > 0.5 > probability[-1]
    assert len(network.candidates(pyramid, 10**6).selection_probability) == 10 * 14 + 5 * 7


def test_the_selection_has_a_gradient():
    model = build("smoothing.kind=learnable", "smoothing.attention=share", "graph.kind=gcn").train()
    features = model.backbone(draw(1, 40, 56)).detach()
    probability = model.candidates([model.context(features)], 40).selection_probability
    (probability[::2].sum() - probability[1::2].sum()).backward()
    for parameter in (model.graph.output.weight, model.smoothing.bandwidth.weight, model.smoothing.confidence.weight):
        assert parameter.grad.abs().max() > 0


def test_a_factor_common_to_all_attention_of_an_image_selects_nothing_else():
    """Neither the selection nor the gradient knows it: raising all attention is no way to select more."""
    model = build("graph.kind=gcn").train()
    context = model.context(model.backbone(draw(1, 40, 56)).detach())
    factor = torch.ones(1, requires_grad=True)
    weights = torch.randn(64, generator=torch.Generator().manual_seed(1))
    scaled = replace(context, attention=factor * context.attention)
    probability = model.candidates([scaled], 40).selection_probability
    [gradient] = torch.autograd.grad((weights * probability).sum(), factor)
    assert abs(gradient.item()) < 1e-4
    with torch.no_grad():
        doubled = model.candidates([replace(context, attention=2 * context.attention)], 40).selection_probability
    torch.testing.assert_close(doubled, probability.detach())


@torch.inference_mode()
def test_the_border_of_a_map_is_cropped():
    whole, inner = (build("smoothing.kind=learnable", f"backbone.crop_border={width}") for width in (0, 1))
    inner.load_state_dict(whole.state_dict())
    features = whole.backbone(draw(1, 40, 56))
    within = features[:, :, 1:-1, 1:-1]
    assert torch.equal(inner.smoothed(inner.context(features)), whole.smoothed(whole.context(within)))
    pairs = ((inner, features), (whole, within))
    [found], [expected] = (model.describe_maps([maps], [0.5], 1000) for model, maps in pairs)
    assert torch.equal(found.descriptors, expected.descriptors)
    assert len(found.scale) == 8 * 12 and (found.scale == 0.5).all()
    cells = found.position * torch.tensor([14, 10]) - 0.5
    rows, columns = cells[:, 1].round().long(), cells[:, 0].round().long()
    torch.testing.assert_close(cells, torch.stack([columns, rows], dim=1).float(), rtol=0, atol=1e-4)
    strength = features[0].norm(dim=0)[rows, columns]
    torch.testing.assert_close(found.strength, strength / strength[0], rtol=1e-4, atol=1e-6)
    narrow = features[:, :, :2]
    assert torch.equal(inner.context(narrow).attention, whole.context(narrow).attention)
