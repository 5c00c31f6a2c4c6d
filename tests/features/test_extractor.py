import pickle
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lrcr.config.reading import load_params
from lrcr.data.dataset import Photo, open_dataset
from lrcr.data.loading import load_batches
from lrcr.errors import ArtifactError, ParamsError
from lrcr.features.extractor import Extractor, ExtractSettings, extract_photos
from lrcr.features.store import Descriptors
from lrcr.models.factory import MODEL_SECTIONS, build_model, open_model, save_model
from lrcr.models.graph import NoRefinement
from lrcr.models.inference import ready_for_inference
from lrcr.models.local import LocalModel
from lrcr.models.smoothing import AverageSmoothing
from lrcr.models.whitening import Whitening
from lrcr.progress import Progress
from lrcr.storage.artifacts import Manifest

CPU = torch.device("cpu")
PARAMS = load_params(
    overrides=[
        *("backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none", "backbone.crop_border=0"),
        *("smoothing.kind=average", "whitening.dim=8"),
    ]
)
SETTINGS = ExtractSettings(image_size=32, scales=[1.0, 0.5], max_descriptors=12)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.pt"
    save_model(path, build_model(PARAMS), Manifest("model", PARAMS.sections(*MODEL_SECTIONS), {}))
    return path


class Counter(Progress):
    def __init__(self) -> None:
        self.steps = 0

    def advance(self, steps=1):
        self.steps += steps


def assert_same(found: Descriptors, expected: Descriptors) -> None:
    for name in ("descriptors", "strength", "xy", "scale", "offsets"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
        assert getattr(found, name).dtype == getattr(expected, name).dtype, name


def test_an_extractor_describes_as_its_model_does(model_file, landmarks):
    photos, progress = open_dataset(landmarks).photos()[:3], Counter()
    extractor = Extractor(model_file, SETTINGS, "cpu")
    found = extractor.describe(photos, progress)
    model, manifest = open_model(model_file)
    assert_same(found, extract_photos(ready_for_inference(model, CPU), photos, SETTINGS, CPU))
    assert (len(found), len(found.descriptors), progress.steps) == (3, 3 * 12, 3)
    assert extractor.manifest == manifest
    assert not extractor.model.training


def test_an_extractor_travels_to_another_process_by_its_file(model_file, landmarks):
    extractor, photos = Extractor(model_file, SETTINGS, "cpu"), open_dataset(landmarks).photos()[:2]
    stored = pickle.dumps(extractor)
    assert len(stored) < 1000, "no weights"
    assert_same(pickle.loads(stored).describe(photos), extractor.describe(photos))


def test_an_extractor_without_its_model_or_device_is_refused(tmp_path, model_file, monkeypatch):
    with pytest.raises(ArtifactError, match=r"none\.pt: no such file; train a model first"):
        Extractor(tmp_path / "none.pt", SETTINGS, "cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ParamsError, match="device: 'cuda', but no GPU is usable here"):
        Extractor(model_file, SETTINGS, "cuda")


@pytest.mark.parametrize(
    ("overrides", "database", "fit"),
    [
        ((), (1024, [2.0, 1.414, 1.0, 0.707, 0.5, 0.353, 0.25], 1000, "float32"), (1024, [1.0], 1000, "float32")),
        (
            ("model.name=gem", "extract.max_descriptors=5", "codebook.max_descriptors=6", "extract.dtype=float16"),
            (1024, [0.3535, 0.5, 0.7071, 1.0, 1.4142], 5, "float16"),
            (1024, [0.3535, 0.5, 0.7071, 1.0, 1.4142], 6, "float32"),
        ),
        (
            ("extract.image_size=48", "extract.scales=[0.7]", "codebook.scales=[0.5, 1]", "extract.decoded_images=9"),
            (48, [0.7], 1000, "float32", 9),
            (48, [0.5, 1.0], 1000, "float32", 9),
        ),
    ],
)
def test_settings_are_those_of_the_params(overrides, database, fit):
    params = load_params(overrides=overrides)
    assert ExtractSettings.of_database(params) == ExtractSettings(*database[:4], "auto", *database[4:])
    assert ExtractSettings.of_fit(params) == ExtractSettings(*fit[:4], "auto", *fit[4:])


def test_photos_of_many_shapes_keep_their_order(tmp_path, model_file):
    """More photos than a batch holds, of shapes that alternate, so that batches mix the order."""
    shapes, photos = [(32, 24), (24, 32), (32, 32)], []
    for number in range(20):
        pixels = np.random.default_rng(number).integers(0, 256, (*shapes[number % 3], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        photos.append(Photo(tmp_path / f"{number}.png"))
    extractor = Extractor(model_file, SETTINGS, "cpu")
    found = extractor.describe(photos)
    for number, photo in enumerate(photos):
        alone, own = extractor.describe([photo]), found.take([number])
        np.testing.assert_array_equal(own.offsets, alone.offsets)
        np.testing.assert_allclose(own.xy, alone.xy)
        np.testing.assert_allclose(own.descriptors, alone.descriptors, rtol=1e-4, atol=1e-4)


def describe(model: LocalModel, photo: Photo, **settings) -> Descriptors:
    return extract_photos(model, [photo], ExtractSettings(**settings), CPU)


@pytest.fixture(scope="module")
def lamp() -> LocalModel:
    """A model that sees only how bright each block of 4 × 4 pixels is."""
    trunk = nn.Sequential(nn.AvgPool2d(4), nn.ReLU())
    return LocalModel(trunk, NoRefinement(), AverageSmoothing(1), Whitening(3, 3), freeze_batchnorm=True).eval()


def light(path: Path, size: tuple[int, int], spot: tuple[int, int, int, int]) -> Path:
    """A black photo with one white spot."""
    image = Image.new("RGB", size)
    image.paste("white", spot)
    image.save(path)
    return path


@pytest.mark.parametrize(
    ("image_size", "box", "spot"),
    [
        (64, None, (40, 8, 44, 12)),
        (64, (20, 4, 60, 24), (40, 8, 44, 12)),
        (32, None, (40, 8, 48, 16)),
        (32, (24, 8, 56, 40), (40, 8, 48, 16)),
    ],
)
def test_coordinates_are_pixels_of_the_original(tmp_path, lamp, image_size, box, spot):
    path = light(tmp_path / "a.png", (64, 48), spot)
    found = describe(lamp, Photo(path, box), image_size=image_size, scales=[1.0], max_descriptors=1)
    np.testing.assert_allclose(found.xy, [[(spot[0] + spot[2]) / 2, (spot[1] + spot[3]) / 2]], atol=1e-4)


def test_coordinates_of_a_turned_photo_are_those_of_the_upright_one(tmp_path, lamp):
    path = light(tmp_path / "a.png", (64, 48), (40, 8, 44, 12))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn clockwise
    with Image.open(path) as image:
        image.save(tmp_path / "b.png", exif=exif)
    photo = Photo(tmp_path / "b.png", (24, 20, 44, 60), orient=True)  # as shown
    found = describe(lamp, photo, image_size=64, scales=[1.0], max_descriptors=1)
    np.testing.assert_allclose(found.xy, [[48 - 10, 42]], atol=1e-4)


@pytest.mark.parametrize("scale", [2.0, 1.0, 0.5])
def test_locations_of_every_scale_lie_on_their_grid(tmp_path, lamp, scale):
    path = light(tmp_path / "a.png", (64, 48), (0, 0, 64, 48))
    found = describe(lamp, Photo(path), image_size=64, scales=[scale], max_descriptors=1000)
    step = 4 / scale
    x, y = np.meshgrid(np.arange(step / 2, 64, step), np.arange(step / 2, 48, step))
    expected = {(float(a), float(b)) for a, b in zip(x.ravel(), y.ravel(), strict=True)}
    assert {(round(float(a), 3), round(float(b), 3)) for a, b in found.xy} == expected
    assert set(found.scale.tolist()) == {scale}


def test_threads_describe_images_of_their_own_and_nothing_else_is_different(model_file, landmarks, threads):
    """Each computes with one thread, so that the descriptors of an image are those of one thread."""
    photos = open_dataset(landmarks).photos()
    extractor = Extractor(model_file, SETTINGS, "cpu")
    expected, names = extractor.describe(photos), set()
    describe = extractor.model.describe

    def note(images, *rest):
        names.add(threading.current_thread().name)
        assert torch.get_num_threads() == 1
        return describe(images, *rest)

    extractor.model.describe = note
    with threads(2):
        found = extractor.describe(photos)
        assert torch.get_num_threads() == 2
    assert len(names) == 2 and threading.current_thread().name not in names
    for name in ("xy", "scale", "offsets"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_allclose(found.descriptors, expected.descriptors, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("number", "size"), [(1, 8), (2, 8), (12, 12)])
def test_a_batch_has_an_image_for_each_thread(model_file, landmarks, threads, monkeypatch, number, size):
    photos, sizes = open_dataset(landmarks).photos(), []

    def note(*arguments):
        sizes.append(arguments[2])
        return load_batches(*arguments)

    monkeypatch.setattr("lrcr.features.extractor.load_batches", note)
    with threads(number):
        assert len(Extractor(model_file, SETTINGS, "cpu").describe(photos)) == len(photos)
    assert sizes == [size]
