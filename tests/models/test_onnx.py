"""Global models in ONNX Runtime, compared with torch."""

import numpy as np
import pytest
import torch

pytest.importorskip("onnxscript", reason="the extra `onnx` is not installed")
pytest.importorskip("onnxruntime", reason="the extra `onnx` is not installed")

from lrcr.config.reading import load_params
from lrcr.errors import ArtifactError
from lrcr.models.factory import MODEL_SECTIONS, build_model, save_model
from lrcr.models.onnx import export_onnx
from lrcr.storage.artifacts import Manifest

TRUNK = ("backbone.name=resnet18", "backbone.skip_layers=2", "backbone.weights=none", "backbone.crop_border=0")


def make(folder, name: str):
    """A small model of a kind in a file, and the model."""
    params = load_params(overrides=[*TRUNK, f"model.name={name}"])
    model = build_model(params).eval()
    save_model(folder / "model.safetensors", model, Manifest("model", params.sections(*MODEL_SECTIONS), {}))
    return folder / "model.safetensors", model


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gem", "solar"])
def test_images_of_any_number_and_size_have_the_vectors_of_torch(tmp_path, name):
    import onnxruntime

    file, model = make(tmp_path, name)
    export_onnx(file, tmp_path / "model.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.safetensors"]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for shape in ((1, 3, 64, 96), (3, 3, 160, 112)):
        images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        [found] = session.run(["vectors"], {"images": images.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(found, model(images).numpy(), atol=1e-4)


def test_a_model_whose_regions_depend_on_the_size_of_the_image_is_refused(tmp_path):
    file, _ = make(tmp_path, "rmac")
    with pytest.raises(ArtifactError, match=r"model\.safetensors: .* rmac has other regions for each size"):
        export_onnx(file, tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
