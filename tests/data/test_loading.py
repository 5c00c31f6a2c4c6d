from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lrcr.data import loading
from lrcr.data.augmentation import augment
from lrcr.data.dataset import Photo
from lrcr.data.images import load_image, prepare
from lrcr.data.loading import load_batches
from lrcr.errors import ImageError

SIZES = [(8, 6), (6, 8), (8, 6), (10, 10), (8, 6), (6, 8), (8, 6), (8, 6)]


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> list[Photo]:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i, (width, height) in enumerate(SIZES):
        Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(folder / f"{i}.png")
    return [Photo(folder / f"{i}.png") for i in range(len(SIZES))]


def prepare_alone(photo: Photo, image_size: int) -> torch.Tensor:
    return prepare(load_image(photo.path, orient=photo.orient, box=photo.box), image_size)


def test_batches_contain_photos_of_one_shape_and_their_positions(photos):
    batches = list(load_batches(photos, 8, 2))
    assert [batch.positions for batch in batches] == [[0, 2], [1, 5], [4, 6], [3], [7]]
    for batch in batches:
        for position, size, origin, image in zip(
            batch.positions, batch.sizes, batch.origins, batch.images, strict=True
        ):
            assert (size, origin) == (SIZES[position], (0, 0))
            assert torch.equal(image, prepare_alone(photos[position], 8))


def test_when_too_many_wait_the_shape_that_waits_longest_is_yielded(photos, monkeypatch):
    monkeypatch.setattr(loading, "_MAX_PENDING", 1)
    positions = [batch.positions for batch in load_batches([photos[i] for i in (0, 1, 3, 2, 5, 4)], 8, 3)]
    assert positions == [[0], [1], [2], [3, 5], [4]]


def test_boxes_and_orientation_are_applied(photos, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the left edge is the top
    with Image.open(photos[0].path) as image:
        image.save(tmp_path / "turned.png", exif=exif)
    box = (2.0, 1.0, 7.0, 5.0)
    for photo, size, origin in (
        (Photo(photos[0].path, box), (5, 4), (2, 1)),
        (Photo(tmp_path / "turned.png", box, orient=True), (4, 5), (1, 2)),
    ):
        [batch] = load_batches([photo], 4, 8)
        assert (batch.sizes, batch.origins) == ([size], [origin])
        assert torch.equal(batch.images[0], prepare_alone(photo, 4))


@given(
    st.lists(st.integers(0, 7), max_size=30),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 5),
)
def test_every_photo_is_yielded_once_and_few_wait(photos, chosen, batch, max_pending, prefetch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "_MAX_PENDING", max_pending)
        patch.setattr(loading, "_PREFETCH", prefetch)
        batches = list(load_batches([photos[i] for i in chosen], 8, batch))
    assert sorted(position for found in batches for position in found.positions) == list(range(len(chosen)))
    yielded: set[int] = set()
    for found in batches:
        assert 1 <= len(found.positions) <= batch
        assert found.positions == sorted(found.positions)
        yielded.update(found.positions)
        # A batch is yielded before more than this number of earlier photos wait.
        assert len(set(range(max(yielded))) - yielded) <= max_pending * batch
    for found in batches:
        for position, image in zip(found.positions, found.images, strict=True):
            assert torch.equal(image, prepare_alone(photos[chosen[position]], 8))


def test_batches_do_not_depend_on_the_number_of_threads(photos, monkeypatch):
    def positions():
        return [batch.positions for batch in load_batches(photos * 3, 8, 2)]

    expected = positions()
    monkeypatch.setattr(loading, "_THREADS", 1)
    assert positions() == expected


def test_no_photos_give_no_batches():
    assert list(load_batches([], 8, 2)) == []


def test_a_damaged_photo_is_named(photos, tmp_path):
    (tmp_path / "a.png").write_bytes(b"text")
    with pytest.raises(ImageError, match=r"a\.png: not an image of a known format; convert it to one of JPEG"):
        list(load_batches([*photos, Photo(tmp_path / "a.png")], 8, 2))


def test_reading_may_stop_early(photos):
    batches = load_batches(photos * 10, 8, 1)
    assert next(batches).positions == [0]
    batches.close()


def test_a_photo_with_a_seed_is_augmented(photos):
    versions = [replace(photos[0], augmentation=seed) for seed in (0, 1, 1)]
    [batch] = load_batches([photos[0], *versions], 8, 8)
    plain, *augmented = batch.images
    assert torch.equal(plain, prepare_alone(photos[0], 8)) and torch.equal(augmented[1], augmented[2])
    loaded = load_image(photos[0].path, orient=False)
    for photo, image in zip(versions, augmented, strict=True):
        expected = prepare(replace(loaded, pixels=augment(loaded.pixels, photo.augmentation)), 8)
        assert torch.equal(image, expected) and not torch.equal(image, plain)
