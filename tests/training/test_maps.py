from pathlib import Path

import pytest
import torch

from lrcr.config.reading import load_params
from lrcr.data.dataset import open_dataset
from lrcr.data.loading import load_batches
from lrcr.models.descriptors import resize
from lrcr.models.factory import build_model
from lrcr.progress import Progress
from lrcr.training.descriptors import describe_globally
from lrcr.training.maps import StoredMaps, TrunkMaps

from .small import make_setup, small

CPU = torch.device("cpu")
SCALES = (1.0, 0.5, 0.01)  # the last leaves no pixel
SMALL = (
    *("backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none", "backbone.crop_border=0"),
    *("smoothing.kind=average", "whitening.dim=8"),
)


@pytest.fixture
def model():
    return build_model(load_params(overrides=SMALL)).eval()


@pytest.fixture
def photos(tmp_path, draw_dataset):
    sizes = [(48, 36), (36, 48), (32, 32)] * 3
    return open_dataset(draw_dataset(tmp_path / "data", sizes, ["a", "b", "c"] * 3)).photos()


@pytest.fixture
def stored(model, tmp_path) -> StoredMaps:
    model.freeze(0)
    return StoredMaps(model.backbone, 32, CPU, tmp_path / "maps")


@torch.no_grad()
def test_each_photo_has_its_map_whatever_its_shape(model, stored, photos):
    asked = [photos[i] for i in (7, 0, 4, 2, 7, 1, 3)]
    for maps in (TrunkMaps(model.backbone, 32, CPU), stored):
        found = {}
        for positions, features in maps.batches(asked, 2, SCALES):
            assert len(positions) <= 2
            found |= dict(zip(positions, zip(*features, strict=True), strict=True))
        assert sorted(found) == list(range(7))
        for position, photo in enumerate(asked):
            [image] = [batch.images for batch in load_batches([photo], 32, 1)]
            expected = [model.backbone(resize(image, scale))[0] for scale in SCALES[:2]]
            torch.testing.assert_close(list(found[position]), expected, rtol=2e-3, atol=1e-3)


def test_a_stored_map_is_computed_once(model, stored, photos):
    seen: list[int] = []
    model.backbone.trunk.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    first = sorted(position for positions, _ in stored.batches(photos) for position in positions)
    assert first == list(range(9)) and sum(seen) == 9
    list(stored.batches(photos[:4] * 2))
    again = StoredMaps(model.backbone, 32, CPU, stored.folder)
    assert len([*again.batches(photos)]) and sum(seen) == 9


@torch.no_grad()
def test_what_a_later_phase_freezes_too_is_not_read_from_files_of_fewer_stages(model, photos, tmp_path):
    model.freeze(1)
    stored = StoredMaps(model.backbone, 32, CPU, tmp_path / "maps")
    [(_, [before])] = stored.batches(photos[:1])
    model.freeze(0)
    [(_, [after])] = stored.batches(photos[:1])
    torch.testing.assert_close(after, before, rtol=2e-3, atol=1e-3)


def test_a_map_half_written_is_computed_again(stored, photos, tmp_path):
    list(stored.batches(photos[:1]))
    [file] = stored.folder.iterdir()
    file.rename(Path(file.parent, f".{file.name}.tmp"))
    assert [positions for positions, _ in stored.batches(photos[:1])] == [[0]]


class Steps(Progress):
    """Counts the steps."""

    def __init__(self) -> None:
        self.count = 0

    def advance(self, steps: int = 1) -> None:
        self.count += steps


def test_global_descriptors_stand_in_the_order_of_the_photos(model, photos):
    maps, steps = TrunkMaps(model.backbone, 32, CPU), Steps()
    vectors = describe_globally(model, maps, photos, steps)
    assert steps.count == 9 and vectors.shape == (9, 8)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(9))
    for photo, vector in zip(photos, vectors, strict=True):
        torch.testing.assert_close(describe_globally(model, maps, [photo])[0], vector, rtol=1e-4, atol=1e-5)
    assert describe_globally(model, maps, []).shape == (0, 8)


def test_a_file_that_lost_its_end_is_written_again(landmarks, tmp_path):
    setup = make_setup(small("train.freeze=backbone"), landmarks, tmp_path)
    photos = setup.images.photos[:2]
    expected = [maps for _, [maps] in setup.maps.batches(photos)]
    next(tmp_path.rglob("*.npy")).write_bytes(b"")
    found = [maps for _, [maps] in setup.maps.batches(photos)]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_maps_of_other_weights_have_other_files(landmarks, tmp_path):
    setup = make_setup(small("train.freeze=backbone"), landmarks, tmp_path)
    first = setup.maps._file(setup.images.photos[0], 1.0)
    with torch.no_grad():
        next(setup.model.backbone.frozen_parameters()).add_(1)
    assert setup.maps.at(setup.image_size)._file(setup.images.photos[0], 1.0) != first
