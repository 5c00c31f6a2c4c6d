"""Networks of timm as backbones, with drawn weights."""

import pytest
import torch
from torch import nn

from lrcr.config.reading import load_params
from lrcr.errors import ParamsError, WeightsError
from lrcr.models.backbone import Backbone
from lrcr.models.factory import ARCHITECTURE, build_model, open_model, save_model
from lrcr.models.inference import ready_for_inference
from lrcr.models.timm_trunk import timm_trunk
from lrcr.storage.artifacts import Manifest

FAMILIES = {
    "resnet18": (256, 16),
    "resnext26ts": (1024, 16),
    "tf_efficientnet_lite0": (112, 16),
    "mobilenetv3_small_050": (24, 16),
    "regnety_002": (152, 16),
    "convnext_atto": (160, 16),
    "pvt_v2_b0": (160, 16),
    "swin_tiny_patch4_window7_224": (384, 16),
    "vit_tiny_patch16_224": (192, 16),
    "vit_small_patch14_reg4_dinov2": (384, 14),
    "vit_small_patch16_dinov3": (384, 16),
    "densenet121": (1024, 16),
}
"""Channels and stride of the map that the tests take."""


def build(name: str) -> Backbone:
    """The network with BatchNorm statistics as after some training."""
    torch.manual_seed(0)
    backbone = Backbone(f"timm/{name}", stride=FAMILIES[name][1])
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return backbone.eval()


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_gives_maps_of_its_stride_and_trains(name):
    channels, stride = FAMILIES[name]
    backbone = build(name)
    assert (backbone.channels, backbone.stride) == (channels, stride)
    images = torch.randn(2, 3, 67, 90)
    features = backbone(images)
    assert features.shape == (2, channels, -(-67 // stride), -(-90 // stride))
    backbone.train()(images).square().mean().backward()
    first = next(backbone.named_network.parameters())
    assert first.grad is not None and first.grad.abs().sum() > 0


@pytest.mark.parametrize("name", FAMILIES)
def test_no_parameter_is_behind_the_map(name):
    backbone = build(name)
    backbone(torch.randn(1, 3, 64, 96)).square().mean().backward()
    without = [key for key, parameter in backbone.named_network.named_parameters() if parameter.grad is None]
    assert not without


@pytest.mark.parametrize("name", FAMILIES)
def test_batchnorm_is_folded_without_a_change(name):
    backbone, images = build(name), torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        expected = backbone(images)
        found = ready_for_inference(backbone, torch.device("cpu"))(images)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "vit_tiny_patch16_224"])
def test_a_saved_model_describes_as_before_at_seven_scales(tmp_path, name):
    channels, stride = FAMILIES[name]
    overrides = [f"backbone.name=timm/{name}", f"backbone.stride={stride}", "backbone.weights=none", "whitening.dim=32"]
    params = load_params(None, [*overrides, "seed=3"])
    model = build_model(params).eval()
    assert model.backbone.channels == channels
    save_model(tmp_path / "model.pt", model, Manifest("model", params.sections(*ARCHITECTURE), {}))
    opened, _ = open_model(tmp_path / "model.pt")
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        [expected], [found] = (each.describe(images, params.scales, 500) for each in (model, opened))
    assert torch.equal(found.descriptors, expected.descriptors) and torch.equal(found.scale, expected.scale)
    assert len(set(found.scale.tolist())) == 7


def test_images_are_normalised_as_the_network_was_trained():
    """EfficientNet-Lite0 was trained on (x − 0.5) / 0.5, images come as (x − mean) / deviation of ImageNet."""
    backbone = build("tf_efficientnet_lite0")
    pixels = torch.rand(1, 3, 32, 32)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    given = (pixels - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    with torch.inference_mode():
        torch.testing.assert_close(backbone(given), backbone.trunk((pixels - 0.5) / 0.5), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "stride", "said"),
    [
        ("resnet19", None, "timm has no network 'resnet19'; did you mean 'timm/resnet18'?"),
        ("qqqqqq", None, "timm has no network 'qqqqqq'; timm.list_models() lists its networks"),
        ("resnet18.none", None, "backbone.name: timm cannot make 'resnet18.none' (Invalid pretrained tag (none)"),
        ("resnet18", 7, "backbone.stride: 7, but timm/resnet18 has maps of stride 2, 4, 8, 16, 32; choose one"),
        ("levit_128s", None, "backbone.name: timm/levit_128s takes images of one size only"),
    ],
)
def test_what_cannot_be_a_backbone_is_refused_in_one_line(name, stride, said):
    with pytest.raises(WeightsError) as error:
        timm_trunk(name, stride)
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["backbone.name=timm/resnet18", "backbone.skip_layers=1"],
            "backbone.skip_layers: 1 is for networks of torchvision",
        ),
        (["backbone.name=resnet19"], "backbone.name: 'resnet19' is unknown; use resnet18, resnet50"),
    ],
)
def test_settings_of_the_other_library_are_refused(overrides, said):
    with pytest.raises(ParamsError, match=said):
        load_params(None, overrides)


@pytest.mark.parametrize("name", ["repvit_m0_9", "swin_tiny_patch4_window7_224"])
def test_what_is_ready_for_inference_computes_the_same(name):
    """RepViT registers a convolution before a BatchNorm that normalises something else."""
    backbone = Backbone(f"timm/{name}", 16)
    generator = torch.Generator().manual_seed(0)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    images = torch.rand(1, 3, 64, 96, generator=generator)
    with torch.no_grad():
        expected = backbone.eval()(images)
        found = ready_for_inference(backbone, torch.device("cpu"))(images)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_blocks_are_not_dropped_at_random():
    backbone = Backbone("timm/swin_tiny_patch4_window7_224", 16).train()
    images = torch.rand(1, 3, 64, 64)
    assert torch.equal(backbone(images), backbone(images))
