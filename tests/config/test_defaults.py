"""The defaults that are not HOW's: a trunk of the package, as it is, and validation as the model searches."""

import pytest

from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.config.recipes import read_recipe


def test_defaults_are_the_best_off_the_shelf_and_need_no_download():
    params = load_params()
    backbone = params.backbone
    trunk = (backbone.name, backbone.stride, backbone.skip_layers, backbone.weights, backbone.crop_border)
    assert trunk == ("timm/tf_efficientnet_lite0", 16, None, "packaged", 1)
    assert (params.smoothing.kind, params.graph.kind) == ("none", "none"), "what is not trained does not help"
    assert params.whitening.dim == 96 and params.whitening.dim % 32 == 0, "sign bits come in words of 32"


def test_how_states_what_is_no_default():
    stated, defaults = read_recipe("how-r18"), Params().model_dump(mode="json")
    differing = {
        "backbone": {"name": "resnet18", "stride": None, "skip_layers": 0, "weights": "imagenet", "crop_border": 0},
        "smoothing": {"kind": "average"},
        "whitening": {"dim": 128},
    }
    for section, values in differing.items():
        found = {key: value for key, value in stated[section].items() if value != defaults[section][key]}
        assert found == values, section


@pytest.mark.parametrize(
    ("model", "validation"), [("local", "asmk"), ("delf", "asmk"), ("gem", "global"), ("cfcd", "global")]
)
def test_the_best_epoch_is_chosen_by_what_the_model_searches_with(model, validation):
    params = load_params(overrides=[f"model.name={model}"])
    assert (params.train.validation.by, params.validation) == (None, validation)
    assert params.sections("train")["train"]["validation"]["by"] == validation
    assert load_params(overrides=[f"model.name={model}", "train.validation.by=global"]).validation == "global"
