import pickle
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from typer.testing import CliRunner

from lrcr.cli.main import app
from lrcr.config.reading import load_params
from lrcr.data.images import MEAN, STD
from lrcr.errors import WeightsError
from lrcr.models.factory import build_model, open_model
from lrcr.models.how_weights import import_how
from lrcr.models.whitening import read_whitening

CHILDREN = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4")
FORMATS = ("older", "newer")


def checkpoint(kind: str, trunk: dict, weight: torch.Tensor, bias: torch.Tensor, *, skip=1, name="resnet18", kernel=3):
    """A checkpoint as HOW's code writes it, of a trunk by torchvision's names and a whitening (D, C)."""
    part = {"older": "whiten", "newer": "dim_reduction"}[kind]
    state = OrderedDict()
    for key, tensor in trunk.items():
        child, _, rest = key.partition(".")
        if child in CHILDREN[: len(CHILDREN) - skip]:
            state[f"features.{CHILDREN.index(child)}.{rest}"] = tensor
    state |= {f"{part}.weight": weight[..., None, None], f"{part}.bias": bias}
    dim, channels = weight.shape
    if kind == "older":
        meta = {"architecture": name, "skip_layer": skip, "dim": dim, "feat_pool_k": kernel}
        return {"epoch": 15, "meta": {**meta, "mean": list(MEAN), "std": list(STD)}, "state_dict": state}
    net = {
        "architecture": name,
        "pretrained": True,
        "skip_layer": skip,
        "dim_reduction": {"dim": dim},
        "smoothing": {"kernel_size": kernel} if kernel else None,
        "runtime": {"mean_std": [list(MEAN), list(STD)], "image_size": 1024, "training_scales": [1]},
    }
    meta = {"architecture": name, "backbone_dim": channels, "outputdim": dim, "corercf_size": 16}
    return {"_version": "how/2020", "epoch": 20, "meta": meta, "net_params": net, "state_dict": state}


@pytest.fixture(scope="module")
def trunk() -> dict:
    torch.manual_seed(0)
    return torchvision.models.resnet18(weights=None).state_dict()


def drawn_whitening() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(16, 256, generator=generator), torch.randn(16, generator=generator)


def save(folder: Path, stored: object) -> Path:
    path = folder / "how.pth"
    torch.save(stored, path)
    return path


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kind", FORMATS)
def test_every_parameter_arrives(tmp_path, trunk, kind, legacy):
    weight, bias = drawn_whitening()
    path = tmp_path / "how.pth"
    torch.save(checkpoint(kind, trunk, weight, bias), path, _use_new_zipfile_serialization=not legacy)
    import_how(path, tmp_path / "model.pt")
    model, manifest = open_model(tmp_path / "model.pt")
    for name, tensor in model.backbone.trunk.state_dict().items():
        assert torch.equal(tensor, trunk[name]), name
    assert torch.equal(model.whitening.weight, weight)
    assert torch.equal(model.whitening.bias, bias)
    expected = {"name": "resnet18", "skip_layers": 1, "stride": None, "weights": "imagenet", "crop_border": 0}
    assert manifest.params["backbone"] == expected
    assert manifest.params["smoothing"]["kernel"] == 3
    assert set(manifest.inputs) == {"released"}


@pytest.mark.parametrize("kind", FORMATS)
def test_it_describes_as_the_same_weights_do(tmp_path, test_data, kind):
    weights = test_data / "weights" / "resnet18-imagenet-to-layer3.npz"
    with np.load(weights) as file, np.load(test_data / "parity" / "how_photos.npz") as how:
        trunk = {name: torch.from_numpy(file[name].astype(np.float32)) for name in file.files}
        weight, bias = (torch.from_numpy(how[f"whiten_{part}"].astype(np.float32)) for part in ("weight", "bias"))
        np.savez(tmp_path / "whitening.npz", whiten_weight=weight.numpy(), whiten_bias=bias.numpy())
    import_how(save(tmp_path, checkpoint(kind, trunk, weight, bias)), tmp_path / "model.pt")
    model, _ = open_model(tmp_path / "model.pt")
    overrides = (
        *("backbone.name=resnet18", "backbone.skip_layers=1", "backbone.crop_border=0"),
        *("smoothing.kind=average", "whitening.dim=128"),
        f"backbone.weights={weights}",
        f"whitening.file={tmp_path / 'whitening.npz'}",
    )
    expected = build_model(load_params(overrides=overrides)).eval()
    images = torch.randn(1, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        (found,), (right,) = (m.describe(images, [1.0, 0.5], 30) for m in (model, expected))
    assert torch.equal(found.descriptors, right.descriptors)
    assert torch.equal(found.strength, right.strength)


def test_without_smoothing(tmp_path, trunk):
    path = save(tmp_path, checkpoint("newer", trunk, *drawn_whitening(), kernel=0))
    import_how(path, tmp_path / "model.pt")
    assert open_model(tmp_path / "model.pt")[1].params["smoothing"]["kind"] == "none"


def test_an_imported_model_lends_trunk_and_whitening(tmp_path, trunk):
    weight, bias = drawn_whitening()
    import_how(save(tmp_path, checkpoint("older", trunk, weight, bias)), tmp_path / "model.pt")
    model = tmp_path / "model.pt"
    found = read_whitening(model, 256, 16)
    assert np.array_equal(found[0], weight.numpy())
    assert np.array_equal(found[1], bias.numpy())
    files = (f"backbone.weights={model}", f"whitening.file={model}")
    settings = (*files, "backbone.name=resnet18", "backbone.skip_layers=1", "whitening.dim=16")
    built = build_model(load_params(overrides=settings))
    assert torch.equal(built.backbone.trunk.conv1.weight, trunk["conv1.weight"])
    assert torch.equal(built.whitening.bias, bias)


def change(stored: dict, path: str, value: object) -> dict:
    *sections, last = path.split("/")
    inner = stored
    for name in sections:
        inner = inner[name]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return stored


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("state_dict/features.4.0.conv1.weight", None, "lacks the tensor 'layer1.0.conv1.weight'"),
        ("state_dict/features.4.0.conv1.weight", torch.zeros(2), r"'layer1.0.conv1.weight' has shape \(2,\)"),
        ("state_dict/features.4.0.extra", torch.zeros(2), "'layer1.0.extra' is not a parameter of resnet18"),
        ("state_dict/features.9.weight", torch.zeros(2), "'features.9.weight' is not a parameter of HOW"),
        ("state_dict/attention.weight", torch.zeros(2), "'attention.weight' is not a parameter of HOW"),
        ("state_dict/dim_reduction.bias", None, "the whitening's bias is missing"),
        ("state_dict/dim_reduction.weight", torch.zeros(16, 256), r"weight is \(16, 256\), not \(16, 256, 1, 1\)"),
        ("state_dict/dim_reduction.bias", torch.full((16,), torch.nan), "bias is not finite"),
        ("state_dict/features.1.bias", "text", "not a ResNet of HOW's code"),
        ("net_params/architecture", "vgg16", "not a ResNet of HOW's code"),
        ("net_params/architecture", ["resnet18"], "not a ResNet of HOW's code"),
        ("net_params/skip_layer", 7, "backbone.skip_layers: 7 is refused"),
        ("net_params/dim_reduction", {"dim": "x"}, "whitening.dim: 'x' is refused"),
        ("net_params/dim_reduction", None, "not a checkpoint of HOW's code"),
        ("net_params/runtime/mean_std", [[0, 0, 0], [1, 1, 1]], "not ImageNet's"),
        ("net_params/runtime/mean_std", 3, "not a checkpoint of HOW's code"),
        ("state_dict", None, "not a checkpoint of HOW's code"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, trunk, path, value, message):
    stored = change(checkpoint("newer", trunk, *drawn_whitening()), path, value)
    with pytest.raises(Exception, match=message) as error:
        import_how(save(tmp_path, stored), tmp_path / "model.pt")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "model.pt").exists()


class _Gadget:
    def __reduce__(self):
        return (print, ("run",))


def test_nothing_is_run(tmp_path, capsys):
    path = tmp_path / "how.pth"
    path.write_bytes(pickle.dumps(_Gadget()))
    with pytest.raises(WeightsError, match="cannot be read"):
        import_how(path, tmp_path / "model.pt")
    torch.save({"state_dict": _Gadget()}, path)
    with pytest.raises(WeightsError, match="cannot be read"):
        import_how(path, tmp_path / "model.pt")
    assert capsys.readouterr().out == ""


def test_the_command(tmp_path, trunk):
    path = save(tmp_path, checkpoint("older", trunk, *drawn_whitening()))
    done = CliRunner().invoke(app, ["download-model", str(path), "-o", str(tmp_path / "model.pt")])
    assert done.exit_code == 0
    open_model(tmp_path / "model.pt")
