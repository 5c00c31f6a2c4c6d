import copy
import json
import pickle

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.errors import ArtifactError, ParamsError, WeightsError
from lrcr.models.factory import (
    ARCHITECTURE,
    MODEL_SECTIONS,
    adopt_model,
    build_model,
    open_model,
    save_model,
    weight_files,
)
from lrcr.models.local import LocalModel
from lrcr.models.smoothing import AverageSmoothing
from lrcr.storage.artifacts import Manifest

SMALL = (
    *("backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none", "backbone.crop_border=0"),
    *("smoothing.kind=average", "whitening.dim=8"),
)


def small(*overrides: str) -> Params:
    return load_params(overrides=[*SMALL, *overrides])


def manifest(params: Params) -> Manifest:
    return Manifest("model", params.sections(*MODEL_SECTIONS), {"train": "abc"})


def whitening_file(path, dim=8, channels=64):
    rng = np.random.default_rng(0)
    np.savez(path, whiten_weight=rng.normal(size=(dim, channels)), whiten_bias=rng.normal(size=dim))
    return path


@pytest.fixture(scope="module")
def model() -> LocalModel:
    """A small model, none of whose tensors is as it is built."""
    model = build_model(small("smoothing.kernel=5", "seed=3"))
    generator = torch.Generator().manual_seed(1)
    state = model.state_dict()
    for name, tensor in state.items():
        if tensor.is_floating_point():
            state[name] = tensor + torch.rand(tensor.shape, generator=generator)
    model.load_state_dict(state)
    return model.eval()


@pytest.fixture
def model_file(tmp_path, model):
    path = tmp_path / "model.pt"
    save_model(path, model, manifest(small("smoothing.kernel=5", "seed=3")))
    return path


def test_a_model_comes_back_as_it_was_stored(model, model_file):
    opened, found = open_model(model_file)
    images = torch.rand(2, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(opened(images), model(images))
    assert found == manifest(small("smoothing.kernel=5", "seed=3"))
    assert not opened.training
    for name, tensor in model.state_dict().items():
        assert name.endswith("num_batches_tracked") or torch.equal(opened.state_dict()[name], tensor), name


def test_equal_models_are_stored_in_equal_bytes(tmp_path, model, model_file):
    save_model(tmp_path / "a" / "model.pt", model, manifest(small("smoothing.kernel=5", "seed=3")))
    assert (tmp_path / "a" / "model.pt").read_bytes() == model_file.read_bytes()


def test_the_memory_format_of_weights_is_not_stored(tmp_path, model, model_file):
    other = copy.deepcopy(model).to(memory_format=torch.channels_last)
    assert not other.backbone.trunk.conv1.weight.is_contiguous()
    save_model(tmp_path / "other.pt", other, manifest(small("smoothing.kernel=5", "seed=3")))
    assert (tmp_path / "other.pt").read_bytes() == model_file.read_bytes()


def test_the_seed_decides_the_weights_and_leaves_no_trace():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (build_model(small(f"seed={seed}")).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["backbone.trunk.conv1.weight"], other["backbone.trunk.conv1.weight"])


def test_params_shape_the_model(tmp_path):
    path = whitening_file(tmp_path / "w.npz", dim=5, channels=128)
    model = build_model(
        small("backbone.skip_layers=2", "whitening.dim=5", "smoothing.kernel=7", f"whitening.file={path}")
    )
    assert isinstance(model.smoothing, AverageSmoothing) and model.smoothing.kernel == 7
    assert model.backbone.channels == 128
    with np.load(path) as file:
        np.testing.assert_array_equal(model.whitening.weight.detach(), file["whiten_weight"].astype(np.float32))
        np.testing.assert_array_equal(model.whitening.bias.detach(), file["whiten_bias"].astype(np.float32))


def test_only_classification_trains_batchnorm_and_only_if_it_is_not_folded(tmp_path):
    folded, whole = tmp_path / "folded.npz", tmp_path / "whole.npz"
    state = {name: tensor.numpy() for name, tensor in build_model(small()).backbone.trunk.state_dict().items()}
    np.savez(folded, **state)
    np.savez(whole, **{name: values + (0.1 if name.endswith("running_mean") else 0) for name, values in state.items()})
    labels = ("model.name=gem", "train.method=classification")
    key = "train.classification.batchnorm"
    assert not build_model(small(*labels)).freeze_batchnorm
    assert not build_model(small(*labels, f"backbone.weights={whole}")).freeze_batchnorm
    assert build_model(small(*labels, f"backbone.weights={whole}", f"{key}=frozen")).freeze_batchnorm
    assert build_model(small(*labels, f"backbone.weights={folded}")).freeze_batchnorm
    assert not build_model(small(*labels, f"backbone.weights={folded}", f"{key}=trained")).freeze_batchnorm
    assert build_model(small()).freeze_batchnorm
    assert build_model(small("model.name=gem", f"backbone.weights={whole}")).freeze_batchnorm


def test_more_dimensions_than_channels_are_refused():
    with pytest.raises(WeightsError) as error:
        build_model(small("whitening.dim=65"))
    expected = "65 is more than the 64 channels of resnet18 at stride 4; lower it"
    assert str(error.value) == f"whitening.dim: {expected}"


def test_a_whitening_that_does_not_fit_is_refused(tmp_path):
    path = whitening_file(tmp_path / "w.npz", dim=7)
    with pytest.raises(WeightsError, match=r"whitening\.file: .*w\.npz: weight \(7, 64\) and bias \(7,\) do not fit"):
        build_model(small(f"whitening.file={path}"))


def test_weight_files_are_hashed(tmp_path):
    assert weight_files(small()) == weight_files(small("backbone.weights=imagenet")) == {}
    for name in "ab":
        (tmp_path / name).write_text(name)
    params = small(f"backbone.weights={tmp_path / 'a'}", f"whitening.file={tmp_path / 'b'}")
    first = weight_files(params)
    assert set(first) == {"weights", "whitening"} and len(set(first.values())) == 2
    (tmp_path / "a").write_text("other")
    second = weight_files(params)
    assert second["weights"] != first["weights"] and second["whitening"] == first["whitening"]


@pytest.mark.parametrize("key", ["backbone.weights", "whitening.file"])
def test_missing_weight_files_are_named(tmp_path, key):
    with pytest.raises(WeightsError) as error:
        weight_files(small(f"{key}={tmp_path / 'none.npz'}"))
    assert str(error.value) == f"{key}: {tmp_path / 'none.npz'}: no such file; name an existing .pth or .npz file"


def test_a_missing_model_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"none\.pt: no such file; train a model first"):
        open_model(tmp_path / "none.pt")


def test_damaged_models_are_refused(tmp_path, model_file):
    whole = model_file.read_bytes()
    for contents in (b"", b"text", whole[: len(whole) // 2], pickle.dumps({"manifest": 1}, protocol=2)):
        model_file.write_bytes(contents)
        with pytest.raises(ArtifactError, match=r"model\.pt: not a model of lrcr \(.*\); train it again"):
            open_model(model_file)
    with pytest.raises(ArtifactError, match="not a model of lrcr"):
        open_model(tmp_path)


class Payload:
    """Whoever unpickles this raises an alarm."""

    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_nothing_is_unpickled_and_torch_files_are_refused(tmp_path):
    torch.save({"manifest": Payload(), "state_dict": {}}, tmp_path / "model.pt")
    for use in (open_model, adopt):
        with pytest.raises(ArtifactError) as error:
            use(tmp_path / "model.pt")
        reason = "not a model of lrcr (a torch file, as earlier versions wrote); train it again"
        assert str(error.value) == f"{tmp_path / 'model.pt'}: {reason}"


def change(model_file, edit) -> None:
    """Edit the manifest (a dictionary) and the tensors of a model file."""
    with safe_open(model_file, framework="pt") as file:
        stored = json.loads(file.metadata()["manifest"])
    tensors = load_file(model_file)
    edit(stored, tensors)
    save_file(tensors, model_file, {"manifest": json.dumps(stored)})


def test_files_of_tensors_without_a_manifest_are_refused(model_file, model):
    for metadata in (None, {"format": "pt"}):
        save_file(model.state_dict(), model_file, metadata)
        with pytest.raises(ArtifactError, match=r"not a model of lrcr \(KeyError\)"):
            open_model(model_file)


def test_a_manifest_that_is_not_json_is_refused(model_file, model):
    for text in ("{", "[" * 100_000):
        save_file(model.state_dict(), model_file, {"manifest": text})
        with pytest.raises(ArtifactError, match=r"model\.pt: not a model of lrcr \(\w+\); train it again"):
            open_model(model_file)


def test_an_altered_manifest_is_refused(model_file):
    change(model_file, lambda stored, _: stored["params"]["smoothing"].update(kernel=3))
    with pytest.raises(ArtifactError, match=r"model\.pt: its fingerprint does not fit its contents"):
        open_model(model_file)


def test_a_model_that_lacks_a_tensor_is_refused(model_file):
    change(model_file, lambda _, tensors: tensors.pop("whitening.bias"))
    with pytest.raises(WeightsError, match=r"model\.pt: lacks the tensor 'whitening\.bias'"):
        open_model(model_file)


def test_a_model_that_diverged_is_refused(model_file):
    change(model_file, lambda _, tensors: tensors["whitening.bias"].fill_(float("nan")))
    with pytest.raises(WeightsError, match=r"'whitening\.bias' holds values that are not finite"):
        open_model(model_file)


def adopt(path):
    return adopt_model(Params(), path)


@pytest.mark.parametrize(
    ("use", "section"),
    [*((open_model, name) for name in ARCHITECTURE), *((adopt, name) for name in MODEL_SECTIONS)],
)
def test_params_of_another_version_are_refused(tmp_path, model, use, section):
    save_model(
        tmp_path / "model.pt",
        model,
        Manifest("model", {**small().sections(*MODEL_SECTIONS), section: {"unknown": 1}}, {}),
    )
    with pytest.raises(ParamsError, match=rf"model\.pt: {section}"):
        use(tmp_path / "model.pt")


LOCAL = {"model", "backbone", "smoothing", "graph", "whitening"}


@pytest.mark.parametrize(("use", "sections"), [(open_model, LOCAL), (adopt, LOCAL | {"train", "seed"})])
def test_a_missing_section_is_refused_if_the_model_reads_it(tmp_path, model, use, sections):
    stored = small().sections(*MODEL_SECTIONS)
    assert sections <= set(stored) and "pooling" not in stored, "a local model has no pooling"
    for section in sections:
        lacking = {name: values for name, values in stored.items() if name != section}
        save_model(tmp_path / "model.pt", model, Manifest("model", lacking, {}))
        with pytest.raises(ParamsError) as error:
            use(tmp_path / "model.pt")
        assert str(error.value) == f"{tmp_path / 'model.pt'}: {section}: missing; train the model again"


def test_a_global_model_has_neither_smoothing_nor_graph_in_its_file(tmp_path):
    params = small("model.name=gem", "pooling.p=2.5")
    save_model(tmp_path / "model.pt", build_model(params), manifest(params))
    opened, found = open_model(tmp_path / "model.pt")
    assert not {"smoothing", "graph"} & set(found.params)
    assert opened.pooling.p.item() == 2.5
    assert adopt(tmp_path / "model.pt").pooling.p == 2.5


def test_adopting_a_model_takes_its_sections_and_leaves_the_others(model_file):
    params = load_params(overrides=["extract.image_size=77", "seed=9", "smoothing.kernel=3"])
    adopted = adopt_model(params, model_file)
    own = small("smoothing.kernel=5", "seed=3")
    assert adopted.sections(*MODEL_SECTIONS) == own.sections(*MODEL_SECTIONS)
    assert adopted.extract.image_size == 77
    others = set(Params.model_fields) - set(MODEL_SECTIONS)
    assert adopted.sections(*others) == params.sections(*others)
