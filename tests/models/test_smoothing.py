from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lrcr.config.model import SmoothingParams
from lrcr.models.smoothing import (
    AverageSmoothing,
    Filter,
    LearnableSmoothing,
    build_smoothing,
    centre_share,
    smooth,
)
from lrcr.models.whitening import Whitening


def average(features: np.ndarray, kernel: int) -> np.ndarray:
    """The definition: the mean over the part of the window that lies inside the map."""
    reach = kernel // 2
    result = np.empty_like(features)
    for y in range(features.shape[2]):
        for x in range(features.shape[3]):
            rows, columns = slice(max(y - reach, 0), y + reach + 1), slice(max(x - reach, 0), x + reach + 1)
            result[:, :, y, x] = features[:, :, rows, columns].mean(axis=(2, 3))
    return result


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (2, 3), (6, 8)])
def test_average_against_the_definition(kernel, size):
    features = np.random.default_rng(0).normal(size=(2, 3, *size))
    smoothed = AverageSmoothing(kernel)(torch.from_numpy(features))
    np.testing.assert_allclose(smoothed.numpy(), average(features, kernel), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", [5, 7])
def test_average_against_the_reference(fixtures, kernel):
    with np.load(fixtures / "how_layers.npz") as parity:
        features, expected = torch.from_numpy(parity["map_1"]), parity[f"average_{kernel}_map_1"]
    np.testing.assert_allclose(AverageSmoothing(kernel)(features[None])[0], expected, rtol=1e-5, atol=1e-6)


def gaussian(features: np.ndarray, filter_: Filter, kernel: int) -> np.ndarray:
    """The definition, location by location."""
    a, c = filter_.bandwidth[:, 0].numpy(), filter_.confidence[:, 0].numpy()
    result = np.empty_like(features)
    images, _, height, width = features.shape
    reach = range(-(kernel // 2), kernel // 2 + 1)
    for i, y, x in product(range(images), range(height), range(width)):
        total, weights = 0.0, 0.0
        for dy, dx in product(reach, reach):
            v, u = y + dy, x + dx
            if not (0 <= v < height and 0 <= u < width):
                continue
            if filter_.embedding is None:
                squared = dy**2 + dx**2
            else:
                e = filter_.embedding[i].numpy()
                squared = ((e[:, y, x] - e[:, v, u]) ** 2).sum()
            weight = c[i, y, x] if dy == dx == 0 else np.exp(-a[i, y, x] * squared)
            total, weights = total + weight * features[i, :, v, u], weights + weight
        result[i, :, y, x] = features[i, :, y, x] if weights < 1e-6 else total / weights
    return result


def draw(shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def learnable(channels: int = 8, **overrides: object) -> LearnableSmoothing:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built = build_smoothing(SmoothingParams(kind="learnable", **overrides), channels)
    assert isinstance(built, LearnableSmoothing)
    return built


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    kernel=st.sampled_from([1, 3, 5]),
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    embedded=st.booleans(),
    scale=st.sampled_from([0.0, 1.0, 30.0]),
)
def test_the_filter_against_the_definition(seed, kernel, height, width, embedded, scale):
    size = (2, 1, height, width)
    filter_ = Filter(
        bandwidth=draw(size, seed).abs().double() * scale,
        confidence=draw(size, seed + 1).double().clamp(0, 1),
        embedding=draw((2, 3, height, width), seed + 2).double() if embedded else None,
    )
    features = draw((2, 4, height, width), seed + 3)
    expected = gaussian(features.double().numpy(), filter_, kernel)
    found = smooth(features, Filter(*(None if t is None else t.float() for t in vars(filter_).values())), kernel)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("distance", ["spatial", "feature"])
@pytest.mark.parametrize("learn", ["shared", "bandwidth", "both"])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_it_starts_as_average_smoothing(distance, learn, kernel):
    features = draw((2, 8, 6, 9))
    smoothing = learnable(distance=distance, learn=learn, kernel=kernel)
    torch.testing.assert_close(smoothing(features), AverageSmoothing(kernel)(features), rtol=0, atol=1e-6)


@pytest.mark.parametrize("learn", ["shared", "bandwidth", "both"])
def test_it_starts_with_the_bandwidth_asked_for(learn):
    features = draw((2, 8, 6, 9))
    filter_ = learnable(learn=learn, initial_bandwidth=0.7).filter(features)
    torch.testing.assert_close(filter_.bandwidth, torch.full((2, 1, 6, 9), 0.7))
    narrow = learnable(learn=learn, initial_bandwidth=1e4)
    torch.testing.assert_close(narrow(features), features)


@pytest.mark.parametrize("distance", ["spatial", "feature"])
def test_the_heads_have_a_gradient_at_the_start(distance):
    def gradients(bandwidth: float, confidence: float) -> list[float]:
        smoothing = learnable(distance=distance)
        with torch.no_grad():
            smoothing.bandwidth.bias.fill_(bandwidth)
            smoothing.confidence.bias.fill_(confidence - 1)
        (smoothing(draw((2, 8, 6, 9))) - draw((2, 8, 6, 9), 1)).square().sum().backward()
        return [float(head.weight.grad.norm()) for head in (smoothing.bandwidth, smoothing.confidence)]

    for start, middle in zip(gradients(0.0, 1.0), gradients(0.5, 0.5), strict=True):
        assert start >= 1e-3 * middle > 0


@pytest.mark.parametrize(("bandwidth", "confidence"), [(0.0, 1.0), (-3.0, 4.0), (-3.0, -4.0), (2.0, 0.5)])
def test_at_a_bound_only_the_gradient_inward_passes(bandwidth, confidence):
    smoothing = learnable(distance="spatial")
    with torch.no_grad():
        smoothing.bandwidth.bias.fill_(bandwidth)
        smoothing.confidence.bias.fill_(confidence - 1)
    for sign in (1.0, -1.0):
        smoothing.zero_grad()
        filter_ = smoothing.filter(draw((1, 8, 2, 2)))
        (sign * (filter_.bandwidth.sum() + filter_.confidence.sum())).backward()
        # Descent moves against the gradient: a positive sign lowers both values.
        assert bool(smoothing.bandwidth.bias.grad) == (bandwidth > 0 or sign < 0)
        assert bool(smoothing.confidence.bias.grad) == (
            0 < confidence < 1 or (confidence >= 1 and sign > 0) or (confidence <= 0 and sign < 0)
        )


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("distance", ["spatial", "feature"])
@pytest.mark.parametrize("bandwidth", [-1e30, 0.0, 1.0, 1e4, 1e30])
@pytest.mark.parametrize("confidence", [-1e30, 0.0, 0.5, 1.0, 1e30])
@pytest.mark.parametrize("constant", [False, True])
def test_nothing_becomes_nan(kernel, distance, bandwidth, confidence, constant):
    smoothing = learnable(distance=distance, kernel=kernel)
    with torch.no_grad():
        smoothing.bandwidth.bias.fill_(bandwidth)
        smoothing.confidence.bias.fill_(confidence)
    features = torch.ones(1, 8, 4, 4) if constant else draw((1, 8, 4, 4))
    smoothed = smoothing(features.requires_grad_())
    smoothed.square().sum().backward()
    assert torch.isfinite(smoothed).all()
    for tensor in (features, *smoothing.parameters()):
        assert tensor.grad is None or torch.isfinite(tensor.grad).all()


@torch.inference_mode()
def test_alone_without_weights_a_location_keeps_its_feature():
    features = draw((1, 3, 4, 4))
    nothing = Filter(torch.full((1, 1, 4, 4), 1e6), torch.zeros(1, 1, 4, 4), None)
    assert torch.equal(smooth(features, nothing, 3), features)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("distance", ["spatial", "feature"])
def test_at_the_start_each_location_keeps_an_equal_share(distance, kernel):
    share = centre_share(learnable(6, distance=distance, kernel=kernel).filter(draw((2, 6, 5, 7))), kernel)
    torch.testing.assert_close(share, torch.ones(2, 5, 7))


@pytest.mark.parametrize("kernel", [3, 7])
def test_no_copy_of_the_map_for_each_neighbour(peak_memory, kernel):
    """Neither forwards nor backwards: the memory held at once stays below a few maps, whatever the kernel."""
    features = draw((1, 64, 64, 64)).requires_grad_()
    smoothing = learnable(64, distance="feature", kernel=kernel, embedding_dim=1)
    held = peak_memory(lambda: smoothing(features).square().sum().backward())
    assert held < 16 * features.nbytes  # 7 × 7 neighbours would take 48


@torch.inference_mode()
@pytest.mark.parametrize("distance", ["spatial", "feature"])
def test_whitening_first_or_last_gives_the_same(distance):
    """As the heads read the un-whitened feature and the weights sum to one."""
    smoothing = learnable(distance=distance)
    smoothing.bandwidth.weight.copy_(draw((1, 8, 1, 1)))
    smoothing.confidence.weight.copy_(draw((1, 8, 1, 1), 1))
    whitening = Whitening(8, 5)
    rng = np.random.default_rng(0)
    whitening.assign(rng.normal(size=(5, 8)).astype("float32"), rng.normal(size=5).astype("float32"))

    def whiten(features: torch.Tensor) -> torch.Tensor:
        return whitening(features.movedim(1, -1)).movedim(-1, 1)

    features = draw((2, 8, 6, 7))
    last = whiten(smoothing(features))
    first = smooth(whiten(features), smoothing.filter(features), 3)
    torch.testing.assert_close(first, last, rtol=1e-5, atol=1e-5)


def test_what_is_not_learned_is_not_there():
    names = {
        learn: {name.split(".")[0] for name, _ in learnable(learn=learn).named_parameters()}
        for learn in ("shared", "bandwidth", "both")
    }
    assert names == {
        "shared": {"shared", "embedding"},
        "bandwidth": {"bandwidth", "embedding"},
        "both": {"bandwidth", "confidence", "embedding"},
    }
    assert learnable(distance="spatial", learn="shared").shared is not None


def test_params_name_the_smoothing():
    features = torch.rand(1, 2, 5, 5)
    smoothing = build_smoothing(SmoothingParams(kind="average", kernel=5), 2)
    assert torch.equal(smoothing(features), AverageSmoothing(5)(features))
    assert torch.equal(build_smoothing(SmoothingParams(kind="none"), 2)(features), features)
    assert torch.equal(AverageSmoothing(1)(features), features)


def test_smoothing_an_average_has_nothing_to_learn():
    assert not list(AverageSmoothing(3).parameters())
    assert isinstance(build_smoothing(SmoothingParams(kind="none"), 2), nn.Module)
