"""Freezing the first stages of a trunk: the network in two parts."""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lrcr.errors import WeightsError
from lrcr.models.backbone import Backbone

STAGES = {
    ("resnet18", 16): 3,
    ("resnet50", 32): 4,
    ("convnext_tiny", 16): 3,
    ("timm/resnet18", 16): 3,
    ("timm/resnext26ts", 16): 3,
    ("timm/tf_efficientnet_lite0", 16): 5,
    ("timm/mobilenetv3_small_050", 16): 4,
    ("timm/regnety_002", 16): 3,
    ("timm/convnext_atto", 32): 4,
    ("timm/pvt_v2_b0", 16): 3,
}
"""Number of stages of networks up to the map of a stride."""


def build(name: str, stride: int) -> Backbone:
    torch.manual_seed(0)
    return Backbone(name, stride)


@pytest.mark.parametrize(("name", "stride"), STAGES)
def test_the_two_parts_compute_what_the_whole_computes(name, stride):
    number = STAGES[name, stride]
    backbone = build(name, stride).eval()
    images = torch.randn(2, 3, 67, 90)
    with torch.no_grad():
        expected, before = backbone(images), len(list(backbone.parameters()))
        for trained in (number, 1, 0):
            backbone.freeze(trained)
            assert torch.equal(backbone(images), expected)
            assert torch.equal(backbone.end(backbone.start(images)), expected)
            assert len(list(backbone.parameters())) == before
    with pytest.raises(WeightsError) as error:
        backbone.freeze(number + 1)
    told = f"{name} at stride {stride} has {number} stages; lower it"
    assert str(error.value) == f"train.freeze: {number + 1}, but {told}"


@pytest.mark.parametrize(("name", "stride"), STAGES)
def test_exactly_the_trained_stages_get_a_gradient(name, stride):
    backbone = build(name, stride).train()
    backbone.freeze(1)
    backbone(torch.randn(2, 3, 64, 64)).square().mean().backward()
    with_gradient = {key for key, parameter in backbone.trunk.named_parameters() if parameter.grad is not None}
    last = tuple(f"{key}." for key in backbone.trained)
    assert with_gradient == {key for key, _ in backbone.trunk.named_parameters() if key.startswith(last)} != set()


def test_training_does_not_change_frozen_statistics():
    backbone = build("resnet18", 16)
    backbone.freeze(1)
    modes = {key: module.training for key, module in backbone.trunk.named_modules() if isinstance(module, _BatchNorm)}
    assert {key for key, training in modes.items() if training} == {key for key in modes if key.startswith("layer3")}
    nn.ModuleList([backbone]).eval()
    assert not any(module.training for module in backbone.modules())
    nn.ModuleList([backbone]).train()
    assert modes == {key: backbone.trunk.get_submodule(key).training for key in modes}
    backbone.freeze(0)
    assert not any(backbone.trunk.get_submodule(key).training for key in modes)


@pytest.mark.parametrize(
    ("name", "stride"),
    [
        ("vit_b_16", 16),
        ("timm/vit_tiny_patch16_224", 16),
        ("timm/swin_tiny_patch4_window7_224", 16),
        ("timm/densenet121", 16),
    ],
)
def test_a_network_that_is_no_sequence_of_stages_is_refused(name, stride):
    backbone = build(name, stride).train()
    with pytest.raises(WeightsError) as error:
        backbone.freeze(2)
    assert str(error.value) == f"train.freeze: 2, but {name} cannot be split between stages; set it to none or backbone"
    assert backbone.training and all(parameter.requires_grad for parameter in backbone.parameters())
    backbone.freeze(0)
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


def test_stages_that_do_not_follow_each_other_are_found_out():
    """By names, this network looks like a ResNet."""

    class Skipping(nn.Sequential):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = super().forward(images) + self.layer1(self.conv1(images)).mean()
            return found

    backbone = build("resnet18", 16)
    backbone.trunk = Skipping(OrderedDict(backbone.trunk.named_children()))
    with pytest.raises(WeightsError, match="resnet18 cannot be split between stages"):
        backbone.freeze(1)
