import pickle
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from lrcr.config.model import BackboneParams
from lrcr.errors import WeightsError
from lrcr.models.backbone import Backbone, build_backbone
from lrcr.models.file import write_model_file
from lrcr.models.weights import load_weights
from lrcr.storage.artifacts import Manifest

SMALL = {"name": "resnet18", "skip_layers": 3}


def build(weights: object) -> Backbone:
    return build_backbone(BackboneParams(**SMALL, weights=str(weights)))


@pytest.fixture(scope="module")
def network() -> nn.Module:
    """The whole ResNet-18 of torchvision, with statistics that are not those of a new network."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.resnet18(weights=None)
        for name, buffer in network.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.uniform_(0.5, 1.5)
    return network.eval()


@pytest.fixture(scope="module")
def state(network) -> dict[str, torch.Tensor]:
    """Its weights as far as a small trunk needs them, and one that it does not need."""
    needed = ("conv1.", "bn1.", "layer1.", "fc.bias")
    return {name: tensor for name, tensor in network.state_dict().items() if name.startswith(needed)}


def save_pth(path, state):
    torch.save(state, path)
    return path


def as_of_a_model(state):
    """The tensors of a local model with this trunk, as far as they matter."""
    return {f"backbone.trunk.{name}": tensor for name, tensor in state.items()} | {"whitening.bias": torch.zeros(3)}


def save_model_file(path, state):
    write_model_file(path, as_of_a_model(state), Manifest("model", {}, {}))
    return path


def save_npz(path, state):
    np.savez(path, **{name: tensor.numpy() for name, tensor in state.items()})
    return path


@torch.no_grad()
@pytest.mark.parametrize("size", [(64, 96), (400, 512), (90, 4000)])
def test_images_in_one_batch_have_the_maps_that_each_has_alone(size):
    """Without gradient, a batch is computed in parts of some number of pixels, at least one image."""
    backbone, seen = Backbone(**SMALL).eval(), []
    backbone.trunk.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    images = torch.randn(5, 3, *size, generator=torch.Generator().manual_seed(0))
    whole = backbone(images)
    assert seen == ([5] if size == (64, 96) else [1] * 5)
    torch.testing.assert_close(whole, torch.cat([backbone(image[None]) for image in images]))
    torch.testing.assert_close(whole, backbone.end(backbone.start(images)))
    backbone.train()
    seen.clear()
    backbone(images)
    assert seen == [5], "BatchNorm in training sees the batch"


@pytest.mark.parametrize(
    ("name", "skip_layers", "channels", "stride"),
    [
        ("resnet18", 0, 512, 32),
        ("resnet18", 1, 256, 16),
        ("resnet18", 2, 128, 8),
        ("resnet18", 3, 64, 4),
        ("resnet50", 0, 2048, 32),
        ("resnet50", 3, 256, 4),
        ("resnet101", 1, 1024, 16),
        ("convnext_tiny", 0, 768, 32),
        ("convnext_tiny", 1, 384, 16),
        ("vit_b_16", 0, 768, 16),
        ("vit_b_16", 3, 768, 16),
    ],
)
def test_channels_and_stride_are_those_of_the_features(name, skip_layers, channels, stride):
    backbone = Backbone(name, skip_layers=skip_layers).eval()
    with torch.inference_mode():
        features = backbone(torch.randn(2, 3, 33, 65, generator=torch.Generator().manual_seed(0)))
    assert (backbone.channels, backbone.stride) == (channels, stride)
    assert features.shape == (2, backbone.channels, -(-33 // backbone.stride), -(-65 // backbone.stride))
    assert (features < 0).any() != name.startswith("resnet"), "a ResNet's features end with a ReLU"
    if name != "vit_b_16":
        assert Backbone(name, stride).trunk.state_dict().keys() == backbone.trunk.state_dict().keys()


@pytest.mark.parametrize(("name", "known"), [("resnet18", "32, 16, 8, 4"), ("vit_b_16", "16")])
def test_a_stride_that_a_network_does_not_have_is_refused(name, known):
    with pytest.raises(WeightsError, match=f"backbone.stride: 12, but {name} has maps of stride {known}; choose one"):
        Backbone(name, 12)


def test_training_a_convnext_draws_no_random_numbers():
    """Torchvision's has stochastic depth, by which no two passes would agree."""
    backbone = Backbone("convnext_tiny", skip_layers=1).train()
    images = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    with torch.inference_mode():
        first = backbone(images)
        assert all(torch.equal(backbone(images), first) for _ in range(5))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("name", "size"), [("vit_b_16", 224), ("convnext_tiny", 96)])
def test_other_trunks_compute_what_torchvision_computes(name, size):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = torchvision.models.get_model(name, weights=None).eval()
    backbone = Backbone(name, skip_layers=0).eval()
    load_weights(backbone.trunk, network.state_dict(), name)
    images = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        if name == "convnext_tiny":
            expected = network.features(images)
        else:
            tokens = torch.cat([network.class_token, network._process_input(images)], dim=1)
            expected = network.encoder(tokens)[:, 1:].mT.unflatten(2, (14, 14))
        torch.testing.assert_close(backbone(images), expected, rtol=1e-5, atol=1e-5)


def test_parameters_carry_the_names_of_torchvision(network):
    for skip_layers in range(4):
        skipped = ("fc.", *(f"layer{4 - i}." for i in range(skip_layers)))
        expected = {name for name in network.state_dict() if not name.startswith(skipped)}
        assert set(Backbone("resnet18", skip_layers=skip_layers).trunk.state_dict()) == expected


@pytest.mark.parametrize("kind", ["npz", "pth", "wrapped", "model", "earlier model"])
def test_weights_from_a_file_give_the_features_of_torchvision(tmp_path, network, state, kind):
    path = {
        "npz": lambda: save_npz(tmp_path / "a.npz", state),
        "pth": lambda: save_pth(tmp_path / "a.pth", state),
        "model": lambda: save_model_file(tmp_path / "a.pt", state),
        "earlier model": lambda: save_pth(tmp_path / "a.pt", {"manifest": {}, "state_dict": as_of_a_model(state)}),
        "wrapped": lambda: save_pth(tmp_path / "a.pth", {"state_dict": state, "epoch": 3}),
    }[kind]()
    images = torch.rand(1, 3, 40, 56, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = network.layer1(network.maxpool(network.relu(network.bn1(network.conv1(images)))))
        assert torch.equal(build(path).eval()(images), expected)


def test_imagenet_weights_are_those_of_torchvision(monkeypatch, state):
    asked = {}

    class Published:
        def get_state_dict(self, **settings):
            asked.update(settings)
            return state

    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda name: {"IMAGENET1K_V1": Published()})
    assert torch.equal(build("imagenet").trunk.conv1.weight, state["conv1.weight"])
    assert asked["check_hash"] is True


def test_a_failed_download_names_the_remedy(monkeypatch):
    class Offline:
        def get_state_dict(self, **_):
            raise URLError("no network")

    monkeypatch.setattr(torchvision.models, "get_model_weights", lambda name: {"IMAGENET1K_V1": Offline()})
    with pytest.raises(WeightsError) as error:
        build("imagenet")
    assert str(error.value) == (
        "backbone.weights: 'imagenet' cannot be downloaded (<urlopen error no network>); "
        "name a file of resnet18's weights, or 'none'"
    )


def test_unused_and_counting_tensors_may_be_missing(tmp_path, state):
    unused = ("fc.bias", "num_batches_tracked")
    backbone = build(save_npz(tmp_path / "a.npz", {n: tensor for n, tensor in state.items() if not n.endswith(unused)}))
    assert torch.equal(backbone.trunk.layer1[1].bn2.running_var, state["layer1.1.bn2.running_var"])


def test_a_missing_tensor_is_named(tmp_path, state):
    less = {name: tensor for name, tensor in state.items() if name != "layer1.1.bn2.bias"}
    path = save_npz(tmp_path / "a.npz", less)
    with pytest.raises(WeightsError) as error:
        build(path)
    expected = f"{path}: lacks the tensor 'layer1.1.bn2.bias'; use weights of the same architecture"
    assert str(error.value) == f"backbone.weights: {expected}"


def test_a_tensor_of_another_shape_is_named(tmp_path, state):
    path = save_pth(tmp_path / "a.pth", {**state, "conv1.weight": state["conv1.weight"][:32]})
    with pytest.raises(WeightsError, match=r"'conv1\.weight' has shape \(32, 3, 7, 7\), not \(64, 3, 7, 7\); use the"):
        build(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(tmp_path, state, value):
    damaged = state["bn1.running_var"].clone()
    damaged[3] = value
    path = save_npz(tmp_path / "a.npz", {**state, "bn1.running_var": damaged})
    with pytest.raises(WeightsError, match=r"'bn1\.running_var' holds values that are not finite; the file is damaged"):
        build(path)


def test_refused_weights_leave_the_network_as_it_was(state):
    trunk = Backbone("resnet18", skip_layers=3).trunk
    before = {name: tensor.clone() for name, tensor in trunk.state_dict().items()}
    with pytest.raises(WeightsError):
        load_weights(trunk, {**state, "layer1.1.bn2.bias": torch.zeros(1)}, "x")
    assert all(torch.equal(tensor, before[name]) for name, tensor in trunk.state_dict().items())


def test_weights_of_another_precision_are_converted(tmp_path, state):
    halved = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    weight = build(save_npz(tmp_path / "a.npz", halved)).trunk.conv1.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, state["conv1.weight"].half().float())


@pytest.mark.parametrize("name", ["none.pth", "none.npz"])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(WeightsError) as error:
        build(tmp_path / name)
    expected = f"{tmp_path / name}: no such file; use 'none', 'imagenet', 'packaged' or a file of weights"
    assert str(error.value) == f"backbone.weights: {expected}"


class Payload:
    """Whoever unpickles this raises an alarm."""

    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


@pytest.mark.parametrize("name", ["a.pth", "a.npz"])
def test_nothing_but_tensors_is_unpickled(tmp_path, name):
    path = tmp_path / name
    if name == "a.pth":
        torch.save({"conv1.weight": Payload()}, path)
    else:
        np.savez(path, **{"conv1.weight": np.array([Payload()], dtype=object)})
    remedy = r"use a \.pth, \.npz or \.safetensors file of tensors"
    with pytest.raises(WeightsError, match=rf"{name}: cannot be read \(.*\); {remedy}"):
        build(path)


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("a.pth", b"text"),
        ("a.pth", b""),
        ("a.pth", pickle.dumps({"a": 1}, protocol=2)),
        ("a.npz", b"text"),
        ("a.npz", b""),
        ("a.npz", b"PK\x03\x04"),
    ],
)
def test_damaged_files_are_refused_in_one_line(tmp_path, name, contents):
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(WeightsError, match=rf"{name}: ") as error:
        build(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="cannot be read"):
        build(tmp_path)


@pytest.mark.parametrize("state", [[torch.zeros(1)], {"conv1.weight": 3}, torch.zeros(3), {"state_dict": [1]}])
def test_a_file_without_a_dictionary_of_tensors_is_refused(tmp_path, state):
    with pytest.raises(WeightsError, match=r"holds no dictionary of tensors; save a network's state_dict"):
        build(save_pth(tmp_path / "a.pth", state))
