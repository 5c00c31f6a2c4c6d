import threading
import time
import weakref
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
from lrcr.data.loading import decoding_threads, load_batches
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


def test_when_too_many_wait_the_shape_that_waits_longest_is_yielded(photos):
    """Of six decoded images three are decoded in advance, and three may wait."""
    positions = [batch.positions for batch in load_batches([photos[i] for i in (0, 1, 3, 2, 5, 4)], 8, 3, 6)]
    assert positions == [[0], [1], [2], [3, 5], [4]]


def test_boxes_and_orientation_are_applied(photos, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the left edge is the top
    with Image.open(photos[0].path) as image:
        image.save(tmp_path / "turned.png", exif=exif)
    box = (2.0, 1.0, 7.0, 5.0)
    for photo, size, origin in (
        (Photo(photos[0].path, box), (5, 4), (2, 1)),
        (Photo(tmp_path / "turned.png", (1.0, 2.0, 5.0, 7.0), orient=True), (4, 5), (1, 2)),
    ):
        [batch] = load_batches([photo], 4, 8)
        assert (batch.sizes, batch.origins) == ([size], [origin])
        assert torch.equal(batch.images[0], prepare_alone(photo, 4))


@given(
    st.lists(st.integers(0, 7), max_size=30),
    st.integers(1, 4),
    st.integers(4, 40),
)
def test_every_photo_is_yielded_once_and_few_wait(photos, chosen, batch, decoded_images):
    batches = list(load_batches([photos[i] for i in chosen], 8, batch, decoded_images))
    waiting = decoded_images - min(16, decoded_images // 2)
    assert sorted(position for found in batches for position in found.positions) == list(range(len(chosen)))
    yielded: set[int] = set()
    for found in batches:
        assert 1 <= len(found.positions) <= batch
        assert found.positions == sorted(found.positions)
        yielded.update(found.positions)
        # A batch is yielded before more than this number of earlier photos wait.
        assert len(set(range(max(yielded))) - yielded) <= waiting
    for found in batches:
        for position, image in zip(found.positions, found.images, strict=True):
            assert torch.equal(image, prepare_alone(photos[chosen[position]], 8))


def test_batches_do_not_depend_on_the_number_of_threads(photos, monkeypatch):
    def positions():
        return [batch.positions for batch in load_batches(photos * 3, 8, 2)]

    expected = positions()
    monkeypatch.setattr(loading, "decoding_threads", lambda: 4)
    assert positions() == expected


@pytest.mark.parametrize("batch", [2, 8])
def test_by_default_eight_batches_of_images_may_wait(tmp_path, batch):
    """The last photo has the shape of the first, which by then waits or has been yielded alone."""
    photos = [Photo(tmp_path / f"{i}.png") for i in range(8 * batch)]
    for i, photo in enumerate(photos):
        Image.new("RGB", (4, 5 + i)).save(photo.path)
    few, many = (
        [found.positions for found in load_batches([*some, photos[0]], 100, batch)] for some in (photos[:-1], photos)
    )
    assert few == [[0, 8 * batch - 1], *([i] for i in range(1, 8 * batch - 1))]
    assert many == [[i] for i in range(8 * batch + 1)]


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


def test_a_photo_is_mirrored_after_it_is_augmented(photos):
    for photo in (photos[0], replace(photos[0], augmentation=1)):
        [plain, mirrored] = next(iter(load_batches([photo, replace(photo, mirrored=True)], 8, 8))).images
        assert torch.equal(mirrored, plain.flip(2)) and not torch.equal(mirrored, plain)


class Alive:
    """Counts the results of calls that are in memory, and the most that ever were."""

    def __init__(self, function):
        self.function, self.lock, self.now, self.most = function, threading.Lock(), 0, 0

    def __call__(self, *args, **kwargs):
        result = self.function(*args, **kwargs)
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        weakref.finalize(getattr(result, "pixels", result), self.leave)
        return result

    def leave(self):
        with self.lock:
            self.now -= 1


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> list[Photo]:
    """Sixty photos of twenty shapes, of which few complete a batch: first mixed, then three of a shape in a row."""
    folder = tmp_path_factory.mktemp("shapes")
    for i in range(20):
        Image.new("RGB", (8 + i, 8)).save(folder / f"{i}.png")
    return [Photo(folder / f"{i}.png") for i in [*(7 * i % 20 for i in range(30)), *(i // 3 for i in range(30))]]


@pytest.mark.parametrize("decoded_images", [4, 5, 12, 24, 40])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_no_more_decoded_images_are_held_than_the_setting_says(shapes, monkeypatch, batch, decoded_images):
    alive = Alive(prepare)
    monkeypatch.setattr(loading, "prepare", alive)
    monkeypatch.setattr(loading, "decoding_threads", lambda: 4)
    positions = []
    for found in load_batches(shapes, 100, batch, decoded_images):
        positions += found.positions
        time.sleep(0.002)  # the threads get as far as they can
    assert sorted(positions) == list(range(60))
    assert alive.most <= decoded_images
    assert alive.now <= 1, "the local variables of the last call"


def test_of_each_thread_one_photo_is_in_memory_in_full(shapes, monkeypatch):
    alive = Alive(load_image)
    monkeypatch.setattr(loading, "load_image", alive)
    monkeypatch.setattr(loading, "decoding_threads", lambda: 3)
    assert sum(len(found.positions) for found in load_batches(shapes, 100, 8)) == 60
    assert (alive.most <= 3, alive.now) == (True, 0)


def test_photos_are_decoded_while_a_batch_is_in_use(photos, monkeypatch):
    """The second photo is not decoded before the first batch is in use, but before the next batch is asked for."""
    in_use, decoded = threading.Event(), threading.Event()

    def wait(path, **kwargs):
        if path == photos[1].path:
            assert in_use.wait(60)
        loaded = load_image(path, **kwargs)
        if path == photos[1].path:
            decoded.set()
        return loaded

    monkeypatch.setattr(loading, "load_image", wait)
    batches = load_batches(photos[:4], 8, 1, 4)
    assert next(batches).positions == [0]
    in_use.set()
    assert decoded.wait(60)
    assert [found.positions for found in batches] == [[1], [2], [3]]


@pytest.mark.parametrize(("given", "expected"), [(1, 1), (2, 2), (7, 4)])
def test_no_more_threads_decode_than_the_param_allows(photos, monkeypatch, threads, given, expected):
    running: set[str] = set()

    def note(*args, **kwargs):
        running.add(threading.current_thread().name)
        return load_image(*args, **kwargs)

    monkeypatch.setattr(loading, "load_image", note)
    with threads(given):
        assert decoding_threads() == expected
        assert len(list(load_batches(photos * 10, 8, 1))) == 10 * len(photos)
    assert 1 <= len(running) <= expected


def test_large_jpegs_are_decoded_at_reduced_size(tmp_path, monkeypatch):
    """Crops and augmented versions are made of all pixels; sizes are those of the full image."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (67, 101, 3), np.uint8)).save(tmp_path / "a.jpg")
    photo = Photo(tmp_path / "a.jpg")
    sizes = []

    def note(*args, **kwargs):
        loaded = load_image(*args, **kwargs)
        sizes.append(loaded.pixels.size)
        return loaded

    monkeypatch.setattr(loading, "load_image", note)
    versions = [photo, replace(photo, box=(1.0, 2.0, 91.0, 62.0)), replace(photo, augmentation=3)]
    batches = list(load_batches(versions, 25, 1))
    assert sizes == [(51, 34), (90, 60), (101, 67)]
    assert [batch.sizes[0] for batch in batches] == [(101, 67), (90, 60), (101, 67)]
    assert [tuple(batch.images.shape[2:]) for batch in batches] == [(17, 25), (15, 22), (17, 25)]
    assert torch.equal(batches[0].images[0], prepare(load_image(photo.path, orient=False, image_size=25), 25))
