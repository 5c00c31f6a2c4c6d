import numpy as np
import pytest
import torch
from torch import nn

from lrcr.models.inference import _fold_batchnorm
from lrcr.models.second_order import SecondOrderAttention


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def trained(channels: int = 6, width: int = 3) -> SecondOrderAttention:
    """A block as after training: all weights and statistics drawn."""
    torch.manual_seed(0)
    module = SecondOrderAttention(channels, width)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand_like(tensor) - 0.3)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_var.uniform_(0.5, 2)
    return module.eval()


def by_definition(module: SecondOrderAttention, image: np.ndarray) -> np.ndarray:
    """Location by location, of one image (C, H, W)."""
    state = {name: tensor.double().numpy() for name, tensor in module.state_dict().items()}

    def convolve(name: str, x: np.ndarray) -> np.ndarray:
        return state[f"{name}.weight"][:, :, 0, 0] @ x + state[f"{name}.bias"]

    def project(name: str, x: np.ndarray) -> np.ndarray:
        norm = {key: state[f"{name}.1.{key}"] for key in ("running_mean", "running_var", "weight", "bias")}
        whitened = (convolve(f"{name}.0", x) - norm["running_mean"]) / np.sqrt(norm["running_var"] + 1e-5)
        return np.maximum(0, whitened * norm["weight"] + norm["bias"])

    locations = image.reshape(len(image), -1).T.astype(np.float64)
    refined = np.empty_like(locations)
    for p, x in enumerate(locations):
        scores = np.array([project("queries", x) @ project("keys", other) for other in locations])
        weights = np.exp(scores / np.sqrt(len(state["values.bias"])))
        mean = sum(w * convolve("values", other) for w, other in zip(weights, locations, strict=True)) / weights.sum()
        refined[p] = x + convolve("output", mean)
    return refined.T.reshape(image.shape)


@torch.inference_mode()
@pytest.mark.parametrize("size", [(1, 1), (3, 4), (5, 2)])
def test_against_the_definition(size):
    module, features = trained(), draw(2, 6, *size)
    expected = [by_definition(module, image) for image in features.numpy()]
    np.testing.assert_allclose(module(features), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_it_starts_as_the_identity_and_learns(training):
    module = SecondOrderAttention(8, 4).train(training)
    features, target = draw(2, 8, 5, 4), draw(2, 8, 5, 4, seed=1)
    assert torch.equal(module(features), features)
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    optimizer, losses = torch.optim.Adam(module.parameters(), lr=0.01), []
    for _ in range(40):
        optimizer.zero_grad()
        loss = (module(features) - target).square().mean()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]
    moved = {name for name, parameter in module.named_parameters() if not torch.equal(parameter, before[name])}
    assert {f"{layer}.weight" for layer in ("queries.0", "keys.0", "values", "output")} <= moved


@torch.inference_mode()
def test_context_comes_from_everywhere():
    module, features = trained(), draw(1, 6, 9, 9)
    changed = features.clone()
    changed[..., 8, 8] += 3
    assert ((module(changed) - module(features))[..., 0, 0].abs() > 1e-5).any()


@torch.inference_mode()
def test_batchnorm_folds_into_it():
    module, features = trained(), draw(2, 6, 4, 3)
    expected = module(features)
    _fold_batchnorm(module, features)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())
    torch.testing.assert_close(module(features), expected, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_memory_is_linear_in_the_number_of_locations(peak_memory):
    """At 64 × 96 locations all pairs together would take 144 MiB."""
    module = SecondOrderAttention(64, 32).eval()
    half, whole = (peak_memory(lambda size=size: module(torch.rand(1, 64, *size))) for size in ((64, 48), (64, 96)))
    assert whole < 2.1 * half and whole < 24 * 2**20
