"""Geometric verification of drawn images: the same points, moved by a transformation or shuffled."""

import numpy as np
import pytest

pytest.importorskip("cv2")

from lrcr.config.rerank import GeometricParams
from lrcr.data.ranking import Ranking
from lrcr.features.store import Descriptors, join
from lrcr.retrieval.local import open_local, write_local
from lrcr.retrieval.local_encoder import LocalEncoder
from lrcr.retrieval.rerank import geometric
from lrcr.retrieval.rerank.geometric import Geometric

from .flat import unit_vectors

COUNT, DIM = 30, 16
POINTS = np.random.default_rng(0).uniform(0, 400, (COUNT, 2)).astype(np.float32)
LOOKS = unit_vectors(1, COUNT, DIM)
TURN = np.array([[0.8, -0.4], [0.3, 0.9]])


def image(descriptors: np.ndarray, xy: np.ndarray) -> Descriptors:
    ones = np.ones(len(xy), np.float32)
    return Descriptors(descriptors, ones, xy.astype(np.float32), ones, np.array([0, len(xy)]))


def view(kept: int) -> Descriptors:
    """The points after an affine transformation; only some look as they did."""
    looks = LOOKS.copy()
    looks[kept:] = unit_vectors((2, kept), COUNT - kept, DIM)
    return image(looks, POINTS @ TURN + 20)


QUERY = image(LOOKS, POINTS)
SHUFFLED = image(LOOKS, POINTS[np.random.default_rng(3).permutation(COUNT)])
NOTHING = image(LOOKS[:0], POINTS[:0])
DATABASE = [SHUFFLED, view(0), view(30), NOTHING, view(15), view(24), NOTHING]


ENCODERS = {"float16": LocalEncoder(), "codes": LocalEncoder(LOOKS.mean(axis=0))}


@pytest.fixture(scope="module", params=ENCODERS)
def database(request, tmp_path_factory):
    folder, encoder = tmp_path_factory.mktemp("local"), ENCODERS[request.param]
    parts = map(encoder.part, (join(DATABASE[:2]), join(DATABASE[2:])))
    return open_local(folder, [write_local(folder / "local-0000", parts, len(DATABASE), encoder)], encoder)


def step(database, **values) -> Geometric:
    return Geometric(database, GeometricParams(kind="geometric", **{"tolerance": 0.02, **values}))


def ranking(*images: int) -> Ranking:
    return Ranking.from_queries([np.array(images)], [np.linspace(0.9, 0.1, len(images), dtype=np.float32)])


@pytest.mark.parametrize("transformation", ["affine", "homography"])
def test_images_are_sorted_by_their_inliers(database, transformation):
    found = step(database, transformation=transformation, exponent=None).rerank(QUERY, ranking(0, 1, 2, 3, 4, 5))
    assert found.image[:3].tolist() == [2, 5, 4]
    np.testing.assert_allclose(np.floor(found.score[:3]), [30, 24, 15], atol=2)


def test_inliers_are_rows_of_both_images(database):
    rows, others = step(database).verify(*(database.of_image(number) for number in (2, 5)))
    assert len(rows) >= 24
    np.testing.assert_array_equal(rows, others)


def test_equal_inliers_keep_their_order(database):
    for order in ([6, 3, 2], [3, 6, 2]):
        assert step(database, exponent=None).rerank(QUERY, ranking(*order)).image.tolist() == [2, *order[:2]]


@pytest.mark.parametrize("exponent", [0.5, 2.0])
def test_inliers_raise_the_score_that_an_image_had(database, exponent):
    images, scores = np.array([0, 3, 5, 4, 2]), np.array([0.9, 0.5, 0.25, -0.5, -2], np.float32)
    query = database.of_query(QUERY, 0)
    counts = {image: len(step(database).verify(query, database.of_image(image))[0]) for image in images.tolist()}
    found = step(database, exponent=exponent).rerank(QUERY, Ranking.from_queries([images], [scores]))
    factor = {image: (1 + count) ** exponent for image, count in counts.items()}
    expected = {0: 0.9 * factor[0], 3: 0.5, 5: 0.25 * factor[5], 4: -0.5 / factor[4], 2: -2 / factor[2]}
    assert counts[3] == 0 and min(counts[5], counts[4], counts[2]) >= 13
    assert found.image.tolist() == sorted(expected, key=expected.__getitem__, reverse=True)
    np.testing.assert_allclose(found.score, sorted(expected.values(), reverse=True), rtol=1e-6)


def test_only_the_first_are_ranked_again(database):
    first = ranking(0, 3, 4, 2, 5)
    for exponent in (None, 2.0):
        found = step(database, top=3, exponent=exponent).rerank(QUERY, first)
        assert found.image.tolist() == [4, 0, 3, 2, 5]
        np.testing.assert_array_equal(found.score[3:], first.score[3:])


def test_a_query_does_not_depend_on_the_others(database):
    lists = Ranking.from_queries(
        [np.array([0, 4, 5]), np.array([1, 2])], [np.ones(3, np.float32), np.ones(2, np.float32)]
    )
    both = step(database).rerank(join([view(30), QUERY]), lists)
    alone = step(database).rerank(QUERY, Ranking.from_queries([np.array([1, 2])], [np.ones(2, np.float32)]))
    for one, other in zip(both.of_query(1), alone.of_query(0), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_query_without_descriptors_or_results_keeps_its_list(database):
    found = step(database).rerank(NOTHING, ranking(4, 2, 0))
    assert found.image.tolist() == [4, 2, 0]
    nothing = Ranking.from_queries([np.array([], np.int64)], [np.array([], np.float32)])
    assert len(step(database).rerank(QUERY, nothing)) == 0


def test_the_smallest_similarity_depends_on_what_is_stored(database, monkeypatch):
    given, none = [], np.zeros(0, np.int64)
    monkeypatch.setattr(geometric, "match", lambda a, b, similarity, *_: given.append(similarity) or (none, none))
    for values in ({}, {"min_similarity": 0.1}):
        step(database, **values).verify(database.of_image(2), database.of_image(5))
    assert given == [0.5 if database.bits is None else 0.6, 0.1]
