"""Regions of database images: which there are, and what is extracted from them."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lrcr.config.reading import load_params
from lrcr.data.dataset import Photo, open_dataset
from lrcr.errors import DatasetError, ParamsError
from lrcr.features.extraction import database_manifest, extract_dataset
from lrcr.features.extractor import Extractor, ExtractSettings
from lrcr.features.regions import database_photos, grid_boxes
from lrcr.features.store import open_descriptors
from lrcr.models.factory import MODEL_SECTIONS, build_model, save_model
from lrcr.storage.artifacts import Manifest

SMALL = (
    *("model.name=delf", "backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none"),
    *("backbone.crop_border=0", "whitening.dim=8", "extract.image_size=40", "extract.scales=[1.0, 0.5]"),
    *("extract.max_descriptors=12", "extract.shard_size=2"),
)
BOXES = [(0, 4, 2, 20, 30, 0.9), (0, 0, 0, 48, 36, 0.05), (2, 10, 10, 30, 30, 0.1), (2, 0, 0, 24, 36, 0.5)]


def small(*overrides: str):
    return load_params(overrides=[*SMALL, *overrides])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, draw_dataset):
    """Three photos, of which the first and the last have two regions each; all are queries without a box."""
    regions = pd.DataFrame(BOXES, columns=["image", "x0", "y0", "x1", "y1", "score"])
    return draw_dataset(tmp_path_factory.mktemp("data") / "three", [(48, 36)] * 3, ["a"] * 3, regions=regions)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.pt"
    save_model(path, build_model(small()), Manifest("model", small().sections(*MODEL_SECTIONS), {}))
    return path


def regions_of(dataset, *overrides):
    return [photo.regions for photo in database_photos(open_dataset(dataset), small(*overrides).extract)]


def test_the_grid_is_that_of_r_mac():
    boxes = grid_boxes(400, 300)
    assert len(boxes) == len(set(boxes)) == 2 + 6 + 12
    assert boxes[:2] == ((0, 0, 300, 300), (100, 0, 400, 300))
    assert all(x1 - x0 == y1 - y0 and x0 >= 0 and y0 >= 0 and x1 <= 400 and y1 <= 300 for x0, y0, x1, y1 in boxes)
    assert {x1 - x0 for x0, _, x1, _ in boxes} == {300, 200, 150}
    assert (0, 0, 200, 200) not in grid_boxes(200, 200), "the whole image is a region anyway"


def test_the_params_say_which_regions_there_are(dataset):
    assert regions_of(dataset) == [None] * 3
    assert regions_of(dataset, "extract.regions=grid") == [grid_boxes(48, 36)] * 3
    assert regions_of(dataset, "extract.regions=detected") == [
        ((4, 2, 20, 30),),
        (),
        ((10, 10, 30, 30), (0, 0, 24, 36)),
    ]
    assert regions_of(dataset, "extract.regions=detected", "extract.min_region_score=0.2") == [
        ((4, 2, 20, 30),),
        (),
        ((0, 0, 24, 36),),
    ]


def test_detected_regions_need_a_table(landmarks):
    with pytest.raises(DatasetError, match=r"^landmarks: has no regions\.parquet; add it, or set extract\.regions to"):
        regions_of(landmarks, "extract.regions=detected")


def test_global_models_have_no_regions():
    with pytest.raises(ParamsError, match=r"extract\.regions: gem has no local descriptors; set it to none"):
        load_params(overrides=["model.name=gem", "extract.regions=grid"])


def test_each_region_is_described_as_a_crop(dataset, model_file):
    params = small("extract.regions=detected")
    extractor = Extractor(model_file, ExtractSettings.of_database(params))
    photos = database_photos(open_dataset(dataset), params.extract)
    found = extractor.describe(photos)
    assert found.region_counts.tolist() == [2, 1, 3]
    alone = [[extractor.describe([replace(photo, regions=None, box=box)]) for box in (None, *photo.regions)]
             for photo in photos]  # fmt: skip
    for image, crops in enumerate(alone):
        rows = slice(*found.offsets[image : image + 2])
        expected = np.concatenate([crop.descriptors for crop in crops])
        np.testing.assert_allclose(found.descriptors[rows], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found.xy[rows], np.concatenate([crop.xy for crop in crops]), atol=1e-4)
        numbers = [np.full(len(crop.descriptors), number) for number, crop in enumerate(crops)]
        np.testing.assert_array_equal(found.region[rows], np.concatenate(numbers))
    x, y = found.xy[found.offsets[0] : found.offsets[1]][found.region[found.offsets[0] : found.offsets[1]] == 1].T
    assert x.min() > 4 and x.max() < 20 and y.min() > 2 and y.max() < 30


def test_queries_of_the_database_are_described_without_their_regions(tmp_path, dataset, model_file):
    for name, *overrides in (("plain",), ("regions", "extract.regions=grid")):
        extract_dataset(small(*overrides), model_file, dataset, tmp_path / name)
    plain, regional = (open_descriptors(tmp_path / name / "queries").read() for name in ("plain", "regions"))
    assert regional.region is None and regional.offsets.tolist() == plain.offsets.tolist()
    np.testing.assert_allclose(regional.descriptors, plain.descriptors, rtol=1e-4, atol=1e-5)
    database = open_descriptors(tmp_path / "regions" / "database")
    assert database.read().region_counts.tolist() == [21] * 3
    assert database.manifest.facts["descriptors"] == len(database.read().descriptors)


def test_descriptors_depend_on_the_boxes_where_they_are_read(tmp_path, dataset, model_file, draw_dataset):
    regions = pd.DataFrame(BOXES[:1], columns=["image", "x0", "y0", "x1", "y1", "score"])
    other = draw_dataset(tmp_path / "three", [(48, 36)] * 3, ["a"] * 3, regions=regions)
    datasets = [open_dataset(folder) for folder in (dataset, other)]
    assert datasets[0].fingerprint == datasets[1].fingerprint
    extractor = Extractor(model_file, ExtractSettings.of_database(small()))
    for regions, differ in (("none", False), ("grid", False), ("detected", True)):
        params = small(f"extract.regions={regions}")
        prints = {database_manifest(params, extractor, each).fingerprint for each in datasets}
        assert (len(prints) == 2) == differ, regions


def test_a_photo_has_no_regions_unless_it_is_given_some(dataset):
    assert open_dataset(dataset).photos()[0] == Photo(dataset / "images/0.png", None, False)
