"""SuperGlobal's two passes against its reference implementation, and where there are few images."""

import numpy as np
import pytest

from lrcr.config.rerank import SuperGlobalParams
from lrcr.data.ranking import Ranking
from lrcr.retrieval.rerank.superglobal import SuperGlobal, refine

from .flat import as_queries, flat_search, unit_vectors


def step(vectors, **values) -> SuperGlobal:
    return SuperGlobal(flat_search(vectors), SuperGlobalParams(kind="superglobal", **values))


@pytest.fixture(scope="module")
def reference(fixtures) -> dict[str, np.ndarray]:
    with np.load(fixtures / "superglobal.npz") as file:
        return dict(file)


def test_both_passes_are_those_of_the_reference(reference):
    database, queries = reference["database"], reference["queries"]
    first = flat_search(database).rank(queries, None)
    np.testing.assert_array_equal(first.image.reshape(6, 90), reference["ranks_first"])
    values = {"top": int(reference["M"]), "neighbours": int(reference["K"]), "beta": float(reference["beta"])}
    found = step(database, **values).rerank(as_queries(queries), first)
    np.testing.assert_array_equal(found.image.reshape(6, 90), reference["ranks_reranked"])


def test_the_first_pass_gives_the_scores_of_the_reference(reference):
    for query, ranks, expected in zip(
        reference["queries"], reference["ranks_first"], reference["augmented_scores"], strict=True
    ):
        refined = refine(reference["database"][ranks[:40]], 9, 0.15)
        np.testing.assert_allclose(refined @ query, expected, rtol=1e-5)


def test_the_rest_keeps_its_order_and_scores(reference):
    database, queries = reference["database"], reference["queries"]
    first = flat_search(database).rank(queries, None)
    found = step(database, top=40).rerank(as_queries(queries), first)
    for query in range(6):
        for one, other in zip(found.of_query(query), first.of_query(query), strict=True):
            np.testing.assert_array_equal(one[40:], other[40:])


@pytest.mark.parametrize("images", [1, 2, 5])
def test_few_images_take_all_that_there_are(images):
    """M and K are larger than the index."""
    database, queries = unit_vectors(0, images, 4), unit_vectors(1, 3, 4)
    first = flat_search(database).rank(queries, None)
    found = step(database).rerank(as_queries(queries), first)
    exact = step(database, top=images, neighbours=max(1, images - 1)).rerank(as_queries(queries), first)
    assert len(found) == 3 * images
    np.testing.assert_array_equal(found.image, exact.image)
    np.testing.assert_array_equal(found.score, exact.score)


def test_a_query_without_results_stays_without():
    nothing = Ranking.from_queries([np.array([], np.int64)] * 2, [np.array([], np.float32)] * 2)
    assert len(step(unit_vectors(0, 3, 4)).rerank(as_queries(unit_vectors(1, 2, 4)), nothing)) == 0


def test_images_that_were_removed_do_not_come_back_and_refine_nothing():
    database, queries = unit_vectors(0, 30, 6), unit_vectors(1, 1, 6)
    first = flat_search(database).rank(queries, None)
    kept = first.select(first.image >= 10)
    found = step(database, top=8).rerank(as_queries(queries), kept)
    alone = database.copy()
    alone[:10] = 0
    expected = step(alone, top=8).rerank(as_queries(queries), kept)
    assert set(found.image) == set(range(10, 30))
    np.testing.assert_array_equal(found.score, expected.score)
