import numpy as np
import pytest

from lrcr.errors import ArtifactError
from lrcr.features.store import Descriptors
from lrcr.retrieval.asmk.codebook import Codebook
from lrcr.retrieval.asmk.images import aggregate_images


def draw(counts):
    rng = np.random.default_rng(0)
    rows = sum(counts)
    ones = np.ones(rows, np.float32)
    offsets = np.cumsum([0, *counts], dtype=np.int64)
    return Descriptors(
        rng.normal(size=(rows, 4)).astype(np.float32), ones, np.ones((rows, 2), np.float32), ones, offsets
    )


CODEBOOK = Codebook(np.eye(4, dtype=np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("row", "image"), [(0, 1), (2, 1), (3, 3), (4, 3)])
def test_a_descriptor_that_is_not_finite_names_its_image(value, row, image):
    images = draw([0, 3, 0, 2])
    images.descriptors[row, 1] = value
    with pytest.raises(ArtifactError, match=f"^image {image}: a descriptor holds NaN or infinity; extract it again"):
        aggregate_images(images, CODEBOOK, 1, binary=True)
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    with pytest.raises(ArtifactError, match=f"^{names[image]}: a descriptor holds NaN"):
        aggregate_images(images, CODEBOOK, 1, binary=True, names=names)


def test_images_keep_their_places():
    found = aggregate_images(draw([0, 3, 0, 2]), CODEBOOK, 4, binary=True)
    assert found.count == 4
    np.testing.assert_array_equal(np.diff(found.offsets), [0, 4, 0, 4])
    assert found.assigned == 20
