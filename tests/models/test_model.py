"""What every model fulfils, whichever descriptors it makes."""

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from lrcr.config.reading import load_params
from lrcr.models.factory import build_model
from lrcr.models.model import Model

SMALL = (
    *("backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none", "backbone.crop_border=0"),
    *("smoothing.kind=average", "whitening.dim=16"),
)
CONTEXT = ("smoothing.kind=learnable", "graph.kind=gcn")
MODELS = {
    "how": (),
    "lrcr": CONTEXT,
    "delf": ("model.name=delf",),
    "delg": ("model.name=delg", "backbone.skip_layers=2"),
    "fire": ("model.name=fire", "super_features={templates: 8, dim: 24}"),
    **{name: (f"model.name={name}",) for name in ("mac", "spoc", "gem", "rmac", "solar", "apgem", "cfcd")},
    "projected": ("model.name=gem", "pooling.projection=24"),
}
LOCAL = ("how", "lrcr", "delf", "fire")


@pytest.fixture(scope="module", params=MODELS)
def kind(request) -> tuple[str, Model]:
    return request.param, build_model(load_params(overrides=[*SMALL, *MODELS[request.param]])).eval()


@pytest.fixture
def model(kind) -> Model:
    return deepcopy(kind[1])


def draw(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_every_parameter_belongs_to_one_part(model):
    parts = [id(parameter) for parameters in model.parts().values() for parameter in parameters]
    assert sorted(parts) == sorted(id(parameter) for parameter in model.parameters())


@torch.inference_mode()
def test_training_descriptors_are_unit_vectors_of_the_features(model):
    images = draw(3, 3, 32, 40)
    vectors = model(images)
    assert vectors.shape == (3, model.dim)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(vectors, model.embed(model.backbone(images)))


@torch.inference_mode()
def test_local_descriptors_or_one_vector(kind):
    name, model = kind
    local = name in LOCAL
    assert model.supports("local descriptors") == local
    assert model.supports("attention") == (name in ("how", "lrcr")), "of each location"
    assert model.supports("late whitening") == (name == "delf")
    assert model.supports("local branch") == (name == "delg") == (model.local_branch(draw(1, 64, 3, 3)) is not None)
    for found in model.describe(draw(2, 3, 32, 40), [1.0, 0.5], 7):
        assert found.descriptors.shape[1] == {"delf": 16, "delg": 32}.get(name, model.dim)
        if name != "rmac":
            assert len(found.descriptors) == (7 if local or name == "delg" else 1)
        assert {len(values) for values in (found.strength, found.position, found.scale)} == {len(found.descriptors)}


@torch.inference_mode()
def test_the_whitening_is_learned_from_what_it_is_applied_to(kind):
    name, model = kind
    features = model.backbone(draw(2, 3, 32, 40))
    found = model.whitening_samples(features, 7)
    shape = (7 if name in LOCAL else 1, {"fire": 24, "delg": 128}.get(name, 64))
    assert [tuple(rows.shape) for rows in found] == [shape] * 2
    whitening = model.whitening_layer
    assert (whitening is not None) == (name in (*LOCAL, "projected", "apgem"))
    if name in ("projected", "apgem"):
        torch.testing.assert_close(F.normalize(whitening(torch.cat(found)), dim=1), model.embed(features))
    if name in LOCAL:
        described = model.describe_maps([features], [1.0], 7)
        for rows, own in zip(found, described, strict=True):
            whitened = whitening(rows)
            expected = F.normalize(whitened, dim=1) if name == "delf" else whitened
            torch.testing.assert_close(expected, own.descriptors)


@pytest.mark.parametrize("frozen", [True, False])
def test_batchnorm_of_the_trunk_trains_unless_it_is_frozen(model, frozen):
    model.freeze_batchnorm = frozen
    assert model.train() is model and model.training and model.backbone.training
    layers = [module for module in model.backbone.modules() if isinstance(module, _BatchNorm)]
    assert layers and {layer.training for layer in layers} == {not frozen}
    assert not any(module.training for module in model.eval().modules())
