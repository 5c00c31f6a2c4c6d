"""Expansion by the words of verified images, on an index that owns the local descriptors of the drawn landmarks."""

import numpy as np
import pytest

from lrcr.config.reading import load_params
from lrcr.errors import ArtifactError, ParamsError
from lrcr.features.store import open_descriptors
from lrcr.retrieval.asmk.expansion import expand_postings
from lrcr.retrieval.searcher import Searcher

from ..steps import make_index, small

pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def index(words, landmarks, tmp_path_factory):
    folder = tmp_path_factory.mktemp("owning") / "index"
    make_index(words, small("index.local_descriptors=float16"), landmarks, folder)
    return folder


@pytest.fixture(scope="module")
def queries(words):
    return open_descriptors(words / "descriptors/queries").read()


def open_with(index, text) -> Searcher:
    params = load_params(overrides=[f"rerank={text}", "search.multiple_assignment=1"])
    return Searcher(index, params.search, rerank=params.rerank)


def test_postings_are_those_of_the_descriptors(index, queries):
    """A landmark's photos are the queries too, described alike."""
    searcher = open_with(index, "[]")
    found, expected = searcher.index.postings(np.array([7, 0, 15])), searcher.index.prepare(queries.take([7, 0]))
    rows = int(found.offsets[2])
    assert found.count == 3 and rows == len(expected.words) > 5
    np.testing.assert_array_equal(found.words[:rows], expected.words)
    np.testing.assert_array_equal(found.vectors[:rows], expected.vectors)


def test_scores_are_those_of_the_expanded_query(index, queries):
    searcher = open_with(index, "[{kind: words, images: 4, min_inliers: 8, agreeing: 1}]")
    [step], first = searcher.steps, searcher.search(queries)
    found, changed = step.rerank(queries, first), 0
    for query in range(len(queries)):
        images, scores = first.of_query(query)
        verified = []
        for image in images[:4]:
            local = step.verifier.database
            sides = (local.of_query(queries, query), local.of_image(int(image)))
            verified += [int(image)] if len(step.verifier.verify(*sides)[0]) >= 8 else []
        if verified:
            asked = searcher.index.prepare(queries.take([query]))
            expanded = expand_postings(asked, searcher.index.postings(np.array(verified)), 1)
            whole = dict(zip(*searcher.index.rank(expanded, None).of_query(0), strict=True))
            scores = np.array([whole[image] for image in images])
            order = np.lexsort((images, -scores))
            images, scores = images[order], scores[order]
            changed += len(verified) > 1
        np.testing.assert_array_equal(found.of_query(query)[0], images)
        np.testing.assert_array_equal(found.of_query(query)[1], scores)
    assert changed > 0, "more than the query's own photo was verified"


def test_without_a_verified_image_the_list_stays(index, queries):
    searcher = open_with(index, "[{kind: words, min_inliers: 1000}]")
    first = searcher.search(queries)
    found = searcher.steps[0].rerank(queries, first)
    np.testing.assert_array_equal(found.image, first.image)
    np.testing.assert_array_equal(found.score, first.score)


def test_images_are_verified_as_the_step_before_does(index):
    first, second = open_with(index, "[{kind: geometric, tolerance: 0.3}, {kind: words}]").steps
    assert second.verifier.params == first.params


def test_it_needs_words_and_local_descriptors(words, gem):
    with pytest.raises(ParamsError, match="rerank: words needs local descriptors, which the index does not own"):
        open_with(words / "index", "[{kind: words}]")
    with pytest.raises(ParamsError, match="rerank: words needs visual words, and the index holds global vectors"):
        open_with(gem / "index", "[{kind: words}]")
    with pytest.raises(ArtifactError, match="holds global vectors, which have no visual words"):
        Searcher(gem / "index").index.postings(np.array([0]))
