"""Where the weights of a backbone come from."""

import pytest
import torch
from safetensors.torch import save_file

from lrcr.config.reading import load_params
from lrcr.data.images import load_image, prepare
from lrcr.errors import ParamsError, WeightsError
from lrcr.models.backbone import Backbone, build_backbone
from lrcr.models.factory import weight_files
from lrcr.models.weights import read_weights
from lrcr.storage.artifacts import hash_file

NETWORK = "timm/mobilenetv3_small_050"


def params(weights, name=NETWORK):
    return load_params(None, [f"backbone.name={name}", "backbone.stride=null", f"backbone.weights={weights}"]).backbone


@pytest.fixture
def drawn():
    torch.manual_seed(5)
    return Backbone(NETWORK).named_network.state_dict()


@pytest.mark.parametrize("file", ["w.pth", "w.safetensors", "hub/model.safetensors"])
def test_a_file_or_a_repository_gives_its_tensors(tmp_path, drawn, file):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".pth":
        torch.save(drawn, path)
    else:
        save_file(drawn, path)
    weights = f"hf:{path.parent}" if "hub" in file else str(path)
    built = build_backbone(params(weights)).named_network.state_dict()
    for name, tensor in drawn.items():
        torch.testing.assert_close(built[name], tensor, rtol=0, atol=0)


PHOTOS = {
    "distractors/bsds_100007.jpg": 296,  # polar bear
    "ox_ashmolean/ashmolean_000000.jpg": 698,  # palace
    "ox_radcliffe_camera/bodleian_000132.jpg": 538,  # dome
    "roofs/roofs1.jpg": 858,  # tile roof
}
"""What some photos show, as a class of ImageNet."""


def test_packaged_weights_classify_photos_right(test_data):
    import timm

    network = timm.create_model("tf_efficientnet_lite0").eval()
    network.load_state_dict(read_weights("timm/tf_efficientnet_lite0", "packaged"))
    backbone = build_backbone(params("packaged", "timm/tf_efficientnet_lite0"))
    for photo, expected in PHOTOS.items():
        image = prepare(load_image(test_data / "photos/images" / photo, orient=True), 320)[None]
        with torch.inference_mode():
            found = network(image * backbone.scale + backbone.shift)
        assert found.argmax().item() == expected, photo


@pytest.mark.parametrize(
    ("weights", "name", "said"),
    [
        ("none.safetensors", NETWORK, "backbone.weights: none.safetensors: no such file"),
        ("none.pth", "resnet18", "backbone.weights: none.pth: no such file"),
    ],
)
def test_weights_that_cannot_be_read_are_refused(weights, name, said):
    with pytest.raises(WeightsError, match=said):
        build_backbone(params(weights, name))


def test_tensors_of_another_network_are_refused(tmp_path, drawn):
    drawn.pop("conv_stem.weight")
    save_file(drawn, tmp_path / "w.safetensors")
    with pytest.raises(
        WeightsError, match=r"lacks the tensor 'conv_stem\.weight'; use weights of the same architecture"
    ):
        build_backbone(params(tmp_path / "w.safetensors"))


def test_only_files_are_hashed(tmp_path, drawn):
    save_file(drawn, tmp_path / "w.safetensors")
    for weights, hashed in ((f"{tmp_path}/w.safetensors", {"weights"}), ("packaged", set()), ("none", set())):
        name = "timm/tf_efficientnet_lite0" if weights == "packaged" else NETWORK
        full = load_params(None, [f"backbone.name={name}", f"backbone.weights={weights}"])
        assert set(weight_files(full)) == hashed


def test_weights_of_a_repository_are_inputs_of_the_model(tmp_path):
    for contents in (b"one", b"two"):
        (tmp_path / "model.safetensors").write_bytes(contents)
        given = load_params(None, ["backbone.name=timm/resnet18", f"backbone.weights=hf:{tmp_path}"])
        assert weight_files(given)["weights"] == hash_file(tmp_path / "model.safetensors")


def test_packaged_weights_of_another_network_are_refused_before_any_work():
    with pytest.raises(ParamsError, match="weights: packaged are those of timm/tf_efficientnet_lite0; set weights to"):
        load_params(None, ["backbone.name=resnet18"])
