"""The search of all against all, compared with the scores of all pairs computed one by one."""

import numpy as np
import pytest

from lrcr.config.retrieval import SearchParams
from lrcr.data.ranking import Ranking
from lrcr.retrieval.asmk.engine import AsmkSearch
from lrcr.retrieval.asmk.index import open_index
from lrcr.retrieval.asmk.segments import Layout
from lrcr.retrieval.flat.engine import FlatSearch
from lrcr.retrieval.flat.index import build_flat_index, open_flat_index
from lrcr.retrieval.neighbours import Pairs, find_neighbours, mutual_pairs
from lrcr.retrieval.searcher import Searcher
from lrcr.retrieval.writer import open_writer

from .asmk import oracle
from .asmk.cases import build, draw_batch, draw_centroids, postings
from .living import KINDS, build_at_once, make_source

IMAGES = 23


def nearest(scores: np.ndarray, top: int, least: float) -> list[list[int]]:
    """The `top` most similar other images of each image whose score is above `least`."""
    ranked = [[image for image in oracle.rank(row) if image != query] for query, row in enumerate(scores)]
    return [[i for i in images[:top] if scores[query, i] > least] for query, images in enumerate(ranked)]


def found(ranking: Ranking, images: int) -> list[list[int]]:
    return [ranking.of_query(query)[0].tolist() for query in range(images)]


@pytest.mark.parametrize(
    ("binary", "packed", "assignment", "idf"), [(True, False, 1, False), (True, True, 2, True), (False, False, 1, True)]
)
def test_stored_postings_find_the_neighbours_that_descriptors_find(
    tmp_path, monkeypatch, binary, packed, assignment, idf
):
    """A query of the oracle is aggregated from descriptors as an image of the database is."""
    monkeypatch.setattr("lrcr.retrieval.asmk.engine._QUERY_MEMORY", 1)  # each image is a batch of its own
    rng = np.random.default_rng(3)
    centroids = draw_centroids(rng, 6, 40)
    batch = draw_batch(rng, centroids, IMAGES)
    parts = [postings(part, centroids, assignment, binary) for part in batch.parts]
    built = build(tmp_path, parts, centroids, binary, packed, memory=500)
    assert len(built.segments) > 2
    words = np.stack([np.argsort(((centroids - d) ** 2).sum(1), kind="stable")[:assignment] for d in batch.descriptors])
    images = oracle.aggregate(batch.descriptors, words, batch.offsets, centroids, binary=binary)
    settings = SearchParams(multiple_assignment=3, alpha=2.0, tau=0.1, idf=idf)
    expected = oracle.score(images, images, 6, alpha=2.0, tau=0.1, idf=idf)
    index = AsmkSearch(built, None, assignment, settings)
    ranking = find_neighbours(index, 4)
    assert found(ranking, IMAGES) == nearest(expected.round(6), 4, 0)
    np.testing.assert_allclose(ranking.score, expected[ranking.query, ranking.image], atol=1e-6)
    np.testing.assert_allclose(expected, expected.T)


def test_vectors_find_their_neighbours_also_those_of_negative_similarity(tmp_path, monkeypatch):
    monkeypatch.setattr("lrcr.retrieval.flat.engine._QUERIES_AT_ONCE", 5)
    vectors = np.random.default_rng(0).normal(size=(IMAGES, 7)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    build_flat_index(tmp_path, [vectors], IMAGES, dtype="float32", params={}, inputs={})
    index = FlatSearch(open_flat_index(tmp_path), None, False, SearchParams())
    assert found(find_neighbours(index, 22), IMAGES) == nearest(vectors @ vectors.T, 22, -2)


@pytest.mark.parametrize("kind", KINDS)
def test_removed_images_are_no_neighbours(tmp_path, kind):
    source = make_source(tmp_path / "source", kind)
    images = {f"{seed:02}": seed for seed in range(2, 14)}
    whole = build_at_once(tmp_path / "a", source, KINDS[kind], images)
    with open_writer(whole) as writer:
        writer.remove(["03", "10"])
        writer.commit()
    images = {name: seed for name, seed in images.items() if name not in ("03", "10")}
    expected = build_at_once(tmp_path / "b", source, KINDS[kind], images)
    rankings = [find_neighbours(Searcher(folder).index, 3) for folder in (whole, expected)]
    for name in ("query", "image", "score"):
        np.testing.assert_array_equal(*(getattr(ranking, name) for ranking in rankings))
    assert len(rankings[0]) > 10


def test_an_index_of_one_image_has_no_neighbours(tmp_path):
    centroids = draw_centroids(np.random.default_rng(0), 3, 8)
    batch = draw_batch(np.random.default_rng(1), centroids, 1)
    build(tmp_path, [postings(batch, centroids)], centroids)
    index = AsmkSearch(open_index(tmp_path), None, 1, SearchParams())
    assert len(find_neighbours(index, 5)) == 0
    assert len(mutual_pairs(find_neighbours(index, 5), 1, 5)) == 0
    assert index.index.layout == Layout(3, 8, binary=True)


def all_of(pairs: Pairs) -> list[tuple[int, int, float]]:
    return [
        (int(one), int(other), round(float(score), 3)) for one, other, score in zip(*vars(pairs).values(), strict=True)
    ]


def test_pairs_are_mutual_and_occur_once():
    """The only neighbour of 2 is 0, which has nearer ones; 1 and 0 are each other's nearest."""
    lists = [np.array(images) for images in ([1, 3], [0, 3], [0], [0, 1])]
    scores = [np.array(values, np.float32) for values in ([0.9, 0.5], [0.9, 0.4], [0.3], [0.5, 0.4])]
    pairs = mutual_pairs(Ranking.from_queries(lists, scores), 4, 2)
    assert all_of(pairs) == [(0, 1, 0.9), (0, 3, 0.5), (1, 3, 0.4)]
    assert all_of(mutual_pairs(Ranking.from_queries(lists, scores), 4, 3))[1] == (0, 2, 0.3)


def test_more_copies_than_neighbours_are_all_pairs_of_the_first():
    """A list holds only the first copies; a later copy ties with the last of them."""
    copies, top = 9, 3
    lists = [np.array([i for i in range(copies) if i != query][:top]) for query in range(copies)]
    scores = [np.array([1, 1, 1 - 1e-7 * query], np.float32) for query in range(copies)]
    pairs = mutual_pairs(Ranking.from_queries(lists, scores), copies, top)
    assert {(0, other) for other in range(1, copies)} <= {pair[:2] for pair in all_of(pairs)}
