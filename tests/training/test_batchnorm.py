import pytest
import torch
from torch import nn

from lrcr.models.backbone import Backbone
from lrcr.runtime import distributed
from lrcr.training.batchnorm import SyncBatchNorm, sync_batchnorm


@pytest.mark.parametrize(("kind", "shape"), [(nn.BatchNorm1d, (6, 3)), (nn.BatchNorm2d, (4, 3, 5, 2))])
def test_alone_it_is_batchnorm(kind, shape):
    """With several ranks a whole training is compared with that of one (test_distributed.py)."""
    generator = torch.Generator().manual_seed(0)
    expected, found = kind(3).double(), SyncBatchNorm(3).double()
    with torch.no_grad():
        expected.weight.copy_(torch.rand(3, generator=generator))
        expected.bias.copy_(torch.rand(3, generator=generator))
    found.load_state_dict(expected.state_dict())
    for _ in range(2):
        images = torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        weights = torch.randn(shape, generator=generator, dtype=torch.float64)
        gradients = []
        for module in (expected, found):
            own = (images, module.weight, module.bias)
            gradients.append(torch.autograd.grad((module(images) * weights).sum(), own))
        for own, other in zip(*gradients, strict=True):
            torch.testing.assert_close(own, other)
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], tensor, msg=name)
    torch.testing.assert_close(found.eval()(images), expected.eval()(images))


def test_the_activation_inside_timms_batchnorm_stays(monkeypatch):
    backbone = Backbone("timm/tf_efficientnet_lite0", 16).eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = backbone(images)
        monkeypatch.setattr(distributed, "world_size", lambda: 2)
        sync_batchnorm(backbone)
        found = backbone(images)
    assert any(isinstance(module, SyncBatchNorm) for module in backbone.modules())
    torch.testing.assert_close(found, expected)
