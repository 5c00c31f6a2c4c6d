"""Steps in their order, and what they share."""

import numpy as np
import pytest

from lrcr.config.reading import load_params
from lrcr.data.ranking import Ranking
from lrcr.errors import ParamsError
from lrcr.retrieval.rerank.expansion import Expansion
from lrcr.retrieval.rerank.reranker import raise_above, rank_by, rerank_in_steps
from lrcr.retrieval.rerank.steps import open_steps
from lrcr.retrieval.rerank.superglobal import SuperGlobal
from lrcr.retrieval.searcher import Searcher

from .flat import as_queries, flat_search, unit_vectors


def steps_of(text: str, index):
    return open_steps(load_params(overrides=[f"rerank={text}"]).rerank, index, None)


def test_the_steps_are_those_of_the_params():
    index = flat_search(unit_vectors(0, 9, 3))
    first, second = steps_of("[{kind: superglobal, top: 5}, {kind: expansion, images: 2}]", index)
    assert isinstance(first, SuperGlobal) and first.params.top == 5
    assert isinstance(second, Expansion) and second.params.images == 2
    assert steps_of("[]", index) == []


def test_steps_follow_each_other():
    database, queries = unit_vectors(0, 30, 5), unit_vectors(1, 3, 5)
    index, described = flat_search(database), as_queries(queries)
    ranking = index.rank(queries, None)
    steps = steps_of("[{kind: expansion, images: 2}, {kind: superglobal, top: 9, neighbours: 2}]", index)
    found = rerank_in_steps(steps, described, ranking)
    expected = steps[1].rerank(described, steps[0].rerank(described, ranking))
    np.testing.assert_array_equal(found.image, expected.image)
    assert not np.array_equal(found.image, rerank_in_steps(steps[1:], described, ranking).image)
    assert rerank_in_steps([], described, ranking) is ranking


@pytest.mark.parametrize("kind", ["expansion", "superglobal"])
def test_global_steps_need_global_vectors(words, kind):
    params = load_params(overrides=[f"rerank=[{{kind: {kind}}}]"])
    with pytest.raises(ParamsError) as error:
        Searcher(words / "index", rerank=params.rerank)
    said = f"rerank: {kind} needs global vectors, and the index holds local descriptors; leave it out"
    assert str(error.value) == said


def test_equal_scores_are_in_the_order_of_ids():
    images, scores = rank_by(np.array([7, 2, 5, 1]), np.array([0.5, 0.5, 0.9, 0.1]))
    assert images.tolist() == [5, 2, 7, 1] and scores.dtype == np.float32


@pytest.mark.parametrize(
    ("head", "tail", "expected"),
    [
        ([3.5, 0.5], [0.4, -1.0], [3.5, 0.5]),
        ([3.5, 0.5], [0.5, 0.2], [4.5, 1.5]),
        ([0.25, -0.5], [2.0], [3.25, 2.5]),
        ([0.5], [], [0.5]),
        ([], [0.5], []),
    ],
)
def test_what_was_ranked_again_stays_above_the_rest(head, tail, expected):
    assert raise_above(np.array(head), np.array(tail)).tolist() == expected


def test_a_ranking_is_cut_in_each_query():
    ranking = Ranking.from_queries(
        [np.array([4, 2, 9]), np.array([1])], [np.array([3, 2, 1], np.float32), np.array([5], np.float32)]
    )
    cut = ranking.cut(2)
    assert cut.image.tolist() == [4, 2, 1] and cut.query.tolist() == [0, 0, 1] and cut.score.tolist() == [3, 2, 5]
    assert ranking.cut(9).image.tolist() == ranking.image.tolist()
