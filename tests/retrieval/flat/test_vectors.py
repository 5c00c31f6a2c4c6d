import numpy as np
import pytest

from lrcr.errors import ArtifactError
from lrcr.features.store import Descriptors
from lrcr.retrieval.flat.vectors import RowWhitening, normalise, to_vectors


def draw(counts, dim=6):
    rng = np.random.default_rng(0)
    rows = sum(counts)
    ones = np.ones(rows, np.float32)
    offsets = np.cumsum([0, *counts], dtype=np.int64)
    descriptors = rng.normal(size=(rows, dim)).astype(np.float32)
    return Descriptors(descriptors, ones, np.ones((rows, 2), np.float32), ones, offsets)


@pytest.fixture
def whitening():
    rng = np.random.default_rng(1)
    return RowWhitening(rng.normal(size=(4, 6)).astype(np.float32), rng.normal(size=4).astype(np.float32))


def oracle(images, whitening):
    """Image by image and row by row."""
    found = []
    for image in range(len(images)):
        rows = images.descriptors[images.offsets[image] : images.offsets[image + 1]].astype(float)
        if whitening is not None:
            rows = [whitening.weight.astype(float) @ row + whitening.bias for row in rows]
            rows = [row / np.linalg.norm(row) for row in rows]
        total = np.sum(rows, axis=0) if len(rows) else np.zeros(6 if whitening is None else 4)
        found.append(total / max(np.linalg.norm(total), 1e-12))
    return np.array(found)


@pytest.mark.parametrize("counts", [[1, 1, 1], [3, 0, 2, 1], [0]])
@pytest.mark.parametrize("whitened", [False, True])
def test_vectors_are_those_of_the_oracle(counts, whitened, whitening):
    images, chosen = draw(counts), whitening if whitened else None
    np.testing.assert_allclose(to_vectors(images, chosen), oracle(images, chosen), atol=1e-6)


@pytest.mark.parametrize("count", [1, 2, 7, 31, 33, 100])
def test_a_row_is_whitened_alike_in_any_batch(count):
    rng = np.random.default_rng(0)
    whitening = RowWhitening(rng.normal(size=(40, 512)).astype(np.float32), rng.normal(size=40).astype(np.float32))
    rows = rng.normal(size=(100, 512)).astype(np.float32)
    np.testing.assert_array_equal(whitening.apply(rows[-count:]), whitening.apply(rows)[-count:])


def test_one_row_an_image_is_its_direction():
    images = draw([1, 1])
    np.testing.assert_allclose(to_vectors(images, None), normalise(images.descriptors), atol=1e-6)


def test_rows_of_another_dimension_are_refused(whitening):
    with pytest.raises(ArtifactError, match="descriptors of 5 dimensions, but the whitening needs 6"):
        to_vectors(draw([1], dim=5), whitening)


def test_rows_that_are_not_finite_name_their_image():
    images = draw([1, 2])
    images.descriptors[2, 0] = np.nan
    with pytest.raises(ArtifactError, match=r"^b\.jpg: a descriptor holds NaN"):
        to_vectors(images, None, ["a.jpg", "b.jpg"])


def test_a_whitening_that_is_none_is_refused():
    ok = np.ones((2, 3), np.float32)
    with pytest.raises(ArtifactError, match="do not fit"):
        RowWhitening(ok, np.ones(3, np.float32))
    with pytest.raises(ArtifactError, match="NaN or infinity"):
        RowWhitening(ok * np.nan, np.ones(2, np.float32))
