"""The maps of a small local model on drawn photos."""

import numpy as np
import pytest
import torch

from lrcr.config.params import MODEL_SECTIONS
from lrcr.config.reading import load_params
from lrcr.data.dataset import open_dataset
from lrcr.errors import ArtifactError, ImageError
from lrcr.models.factory import build_model, open_local_model, save_model
from lrcr.models.inference import ready_for_inference
from lrcr.report.dataset_maps import draw_dataset_maps
from lrcr.report.edges import correlate_with_edges
from lrcr.report.inspection import inspect_photo
from lrcr.report.maps import draw_maps
from lrcr.runtime.device import resolve_device
from lrcr.runtime.seeds import generator
from lrcr.storage.artifacts import Manifest

SMALL = [
    *("backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none", "backbone.crop_border=0"),
    *("whitening.dim=16", "smoothing.kind=learnable", "extract.image_size=48"),
]
PARAMS = load_params(overrides=SMALL)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    model = build_model(PARAMS)
    with torch.no_grad():
        model.smoothing.bandwidth.weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
    file = tmp_path_factory.mktemp("model") / "model.pt"
    save_model(file, model, Manifest("model", PARAMS.sections(*MODEL_SECTIONS), {}))
    return file


@pytest.fixture(scope="module")
def whole(model_file, landmarks, tmp_path_factory):
    """The folder of maps, and its metrics."""
    folder = tmp_path_factory.mktemp("whole") / "maps"
    return folder, draw_dataset_maps(PARAMS, model_file, landmarks, folder)


def files(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_maps_are_those_of_the_model_and_the_metric_is_their_mean(model_file, landmarks, whole, tmp_path):
    folder, metrics = whole
    model = ready_for_inference(open_local_model(model_file), resolve_device(PARAMS.device))
    dataset = open_dataset(landmarks)
    photos, names = dataset.photos(), dataset.images["path"]
    order = generator(PARAMS.seed, "report images").permutation(16).tolist()
    looked = [inspect_photo(model, photos[image], 48) for image in order]
    values = [correlate_with_edges(inspection) for inspection in looked]
    found = metrics["bandwidth_gradient_correlation"]
    assert found["images"] == 16
    assert found["mean"] == pytest.approx(np.mean(values))
    assert found["standard_error"] == pytest.approx(np.std(values, ddof=1) / 4)
    assert sorted(folder.iterdir()) == sorted(folder / f"{image:04}.png" for image in order[:4])
    draw_maps(tmp_path / "maps.png", names[order[0]], looked[0])
    assert (folder / f"{order[0]:04}.png").read_bytes() == (tmp_path / "maps.png").read_bytes()


def test_maps_drawn_twice_are_equal(model_file, landmarks, whole, tmp_path):
    folder, metrics = whole
    assert draw_dataset_maps(PARAMS, model_file, landmarks, tmp_path / "again") == metrics
    assert files(tmp_path / "again") == files(folder)


def test_a_global_model_has_no_maps(landmarks, tmp_path):
    params = load_params(overrides=[*SMALL, "model.name=gem"])
    save_model(tmp_path / "gem.pt", build_model(params), Manifest("model", params.sections(*MODEL_SECTIONS), {}))
    metrics = draw_dataset_maps(params, tmp_path / "gem.pt", landmarks, tmp_path / "maps")
    assert metrics == {"bandwidth_gradient_correlation": {"mean": None, "standard_error": None, "images": 0}}
    assert files(tmp_path / "maps") == {}


def test_a_model_of_other_params_is_refused(model_file, landmarks, tmp_path):
    with pytest.raises(ArtifactError, match="made with"):
        draw_dataset_maps(PARAMS.model_copy(update={"seed": 1}), model_file, landmarks, tmp_path / "maps")
    assert not (tmp_path / "maps").exists()


def test_a_damaged_photo_leaves_the_last_maps(model_file, draw_dataset, tmp_path):
    dataset = draw_dataset(tmp_path / "dataset", [(48, 36)] * 4, ["a", "a", "b", "b"])
    draw_dataset_maps(PARAMS, model_file, dataset, tmp_path / "maps")
    before = files(tmp_path / "maps")
    for photo in (dataset / "images").iterdir():
        photo.write_bytes(b"no image")
    with pytest.raises(ImageError, match="not an image"):
        draw_dataset_maps(PARAMS, model_file, dataset, tmp_path / "maps")
    assert len(before) == 4 and files(tmp_path / "maps") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset", "maps"]
