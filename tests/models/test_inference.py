import pytest
import torch
from torch import nn

from lrcr.config.reading import load_params
from lrcr.models.factory import build_model
from lrcr.models.inference import ready_for_inference

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "convnext_tiny"])
@pytest.mark.parametrize("skip_layers", [0, 2])
def test_the_function_stays_and_batchnorm_goes(name, skip_layers):
    trunk = [f"backbone.name={name}", f"backbone.skip_layers={skip_layers}", "backbone.weights=none"]
    how = ["backbone.crop_border=0", "smoothing.kind=average", "whitening.dim=16"]
    model = build_model(load_params(None, [*trunk, *how])).eval()
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                tensor.data = torch.rand(tensor.shape, generator=generator) + 0.5
    images = torch.rand(2, 3, 64, 96, generator=generator)
    with torch.inference_mode():
        expected = model.describe(images, [1.0, 0.5], 20)
        ready = ready_for_inference(model, CPU)
        assert not any(isinstance(module, nn.BatchNorm2d) for module in ready.modules())
        for found, local in zip(ready.describe(images, [1.0, 0.5], 20), expected, strict=True):
            torch.testing.assert_close(found.strength, local.strength, rtol=1e-3, atol=1e-5)
            cosine = torch.cosine_similarity(found.descriptors, local.descriptors)
            assert cosine.min() > 0.9999
