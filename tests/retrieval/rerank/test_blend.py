"""Blends against a loop over images."""

import numpy as np
import pytest

from lrcr.config.rerank import BlendParams
from lrcr.data.ranking import Ranking
from lrcr.features.store import open_descriptors
from lrcr.retrieval.rerank.blend import Blend
from lrcr.retrieval.searcher import Searcher

from .flat import as_queries, flat_search, unit_vectors

DATABASE, QUERIES = unit_vectors(0, 30, 6), unit_vectors(1, 3, 6)


def step(index, **values) -> Blend:
    return Blend(index, BlendParams(kind="blend", **values))


def given(factor: float = 1.0) -> Ranking:
    """A list of 20 of the images for each query, as another step has scored them."""
    rng = np.random.default_rng(2)
    images = [rng.permutation(30)[:20] for _ in QUERIES]
    scores = [np.sort(rng.uniform(0, 40, 20))[::-1].astype(np.float32) * np.float32(factor) for _ in QUERIES]
    return Ranking.from_queries(images, scores)


def orders(ranking: Ranking) -> list[list[int]]:
    return [ranking.of_query(query)[0].tolist() for query in range(len(QUERIES))]


def mix(share: float, top: int) -> list[list[int]]:
    """The slow way."""
    found = []
    for query, vector in enumerate(QUERIES):
        images, scores = given().of_query(query)
        own = [float(DATABASE[image] @ vector) for image in images[:top]]
        other = [float(score) for score in scores[:top]]
        mixed = {}
        for image, a, b in zip(images[:top], own, other, strict=True):
            a, b = (a - min(own)) / (max(own) - min(own)), (b - min(other)) / (max(other) - min(other))
            mixed[int(image)] = share * a + (1 - share) * b
        found.append([*sorted(mixed, key=lambda image: -mixed[image]), *images[top:].tolist()])
    return found


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("top", [5, 20])
def test_scores_are_mixed_as_in_a_loop(share, top):
    assert orders(step(flat_search(DATABASE), share=share, top=top).rerank(as_queries(QUERIES), given())) == mix(
        share, top
    )


def test_one_side_alone_keeps_its_order():
    index, queries = flat_search(DATABASE), as_queries(QUERIES)
    assert orders(step(index, share=0.0).rerank(queries, given())) == orders(given())
    first = index.rank(QUERIES, None)
    own = [
        [image for image in order if image in kept] for order, kept in zip(orders(first), orders(given()), strict=True)
    ]
    assert orders(step(index, share=1.0).rerank(queries, given())) == own


def test_the_unit_of_a_score_does_not_matter():
    index, queries = flat_search(DATABASE), as_queries(QUERIES)
    assert orders(step(index).rerank(queries, given(0.01))) == orders(step(index).rerank(queries, given()))


def test_the_rest_keeps_its_order_and_scores():
    found = step(flat_search(DATABASE), top=5).rerank(as_queries(QUERIES), given())
    for query in range(3):
        for one, other in zip(found.of_query(query), given().of_query(query), strict=True):
            np.testing.assert_array_equal(one[5:], other[5:])


def test_an_index_of_local_descriptors_blends_too(words):
    queries, searcher = open_descriptors(words / "descriptors/queries").read(), Searcher(words / "index")
    first = searcher.search(queries)
    turned = Ranking.from_queries(
        [first.of_query(query)[0][::-1] for query in range(len(queries))],
        [np.arange(len(first.of_query(query)[0]), 0, -1, dtype=np.float32) for query in range(len(queries))],
    )
    back = step(searcher.index, share=1.0).rerank(queries, turned)
    np.testing.assert_array_equal(back.image, first.image)


@pytest.mark.parametrize("count", [0, 1])
def test_a_list_without_a_spread_stays_as_it_is(count):
    few = Ranking.from_queries([np.arange(count)] * 3, [np.ones(count, np.float32)] * 3)
    found = step(flat_search(DATABASE)).rerank(as_queries(QUERIES), few)
    assert found.image.tolist() == few.image.tolist() and np.isfinite(found.score).all()
