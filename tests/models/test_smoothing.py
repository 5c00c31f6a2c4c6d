import numpy as np
import pytest
import torch
from torch import nn

from lrcr.models.smoothing import AverageSmoothing, build_smoothing
from lrcr.params import SmoothingParams


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


def test_params_name_the_smoothing():
    features = torch.rand(1, 2, 5, 5)
    smoothing = build_smoothing(SmoothingParams(kernel=5))
    assert torch.equal(smoothing(features), AverageSmoothing(5)(features))
    assert torch.equal(build_smoothing(SmoothingParams(kind="none"))(features), features)
    assert torch.equal(AverageSmoothing(1)(features), features)


def test_smoothing_an_average_has_nothing_to_learn():
    assert not list(AverageSmoothing(3).parameters())
    assert isinstance(build_smoothing(SmoothingParams(kind="none")), nn.Module)
