import numpy as np
import pytest

from lrcr.features.store import Descriptors
from lrcr.retrieval.asmk.codebook import Codebook
from lrcr.retrieval.asmk.images import aggregate_images
from lrcr.retrieval.asmk.once import search_once


@pytest.mark.parametrize("binary", [True, False])
def test_each_image_finds_itself_first(binary):
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 32)).astype(np.float32)
    images = Descriptors(points, points[:, 0], points[:, :2], points[:, 0], np.arange(0, 61, 10))
    part = aggregate_images(images, Codebook(points[::12] + 0.1), 1, binary=binary)
    ranking = search_once(part, part, 5)
    first = ranking.query.searchsorted(np.arange(6))
    np.testing.assert_array_equal(ranking.image[first], np.arange(6))
    np.testing.assert_allclose(ranking.score[first], 1, atol=1e-3)
    assert len(search_once(part, part, 5, top=2).score) == 12
    strict = search_once(part, part, 5, tau=0.9)
    assert strict.score.sum() < ranking.score.sum()
