"""The protocol of re-ranked lists: a setup's list is cut before it is ranked again."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.data.ranking import Ranking
from lrcr.evaluation.metrics import DEPTHS, evaluate
from lrcr.evaluation.protocol import SETUPS
from lrcr.evaluation.reranking import remove_ignored, rerank_setups

RELEVANCE = pd.DataFrame(
    [(0, 0, "junk"), (0, 1, "easy"), (0, 2, "hard"), (1, 3, "hard"), (1, 0, "easy")],
    columns=["query", "image", "grade"],
)


def make_ranking(*images: list[int]) -> Ranking:
    scores = [np.arange(len(of), 0, -1).astype(np.float32) for of in images]
    return Ranking.from_queries([np.array(of, np.int64) for of in images], scores)


class Reverse:
    """A step that ranks the first two images of each query again, in reverse; it notes what it was given."""

    def __init__(self):
        self.given = []

    def rerank(self, queries, ranking):
        lists = [ranking.of_query(query)[0].tolist() for query in range(len(queries))]
        self.given.append(lists)
        return make_ranking(*([*images[:2][::-1], *images[2:]] for images in lists))


RANKING = make_ranking([0, 4, 1, 2, 3], [3, 0, 1, 2])


def test_each_setup_ranks_again_what_it_does_not_ignore():
    step = Reverse()
    found = rerank_setups([step], [None, None], RANKING, RELEVANCE)
    assert step.given == [
        [[4, 1, 3], [0, 1, 2]],
        [[4, 1, 2, 3], [3, 0, 1, 2]],
        [[4, 2, 3], [3, 1, 2]],
    ]
    assert list(found.rankings) == ["easy", "medium", "hard"]
    assert found.rankings["hard"].of_query(0)[0].tolist() == [2, 4, 3]
    assert found.evaluation.ap["easy"].tolist() == [100, 25]
    assert found.evaluation.ap["hard"].tolist() == [100, 25]


@pytest.mark.parametrize(("setup", "first", "second"), [("easy", [4, 1, 3], [0, 1, 2]), ("hard", [4, 2, 3], [3, 1, 2])])
def test_only_the_querys_own_images_are_removed(setup, first, second):
    found = remove_ignored(RANKING, RELEVANCE, SETUPS[setup])
    assert [found.of_query(query)[0].tolist() for query in (0, 1)] == [first, second]


@settings(deadline=None)
@given(
    lists=st.lists(st.permutations(range(8)), min_size=1, max_size=4),
    grades=st.lists(st.sampled_from([None, "easy", "hard", "junk"]), min_size=32, max_size=32),
    top=st.integers(1, 8),
)
def test_without_steps_nothing_changes(lists, grades, top):
    rows = [(q, i, grades[8 * q + i]) for q in range(len(lists)) for i in range(8) if grades[8 * q + i]]
    relevance = pd.DataFrame(rows, columns=["query", "image", "grade"]).astype({"query": int, "image": int})
    ranking = make_ranking(*(images[:top] for images in lists))
    found = rerank_setups([], [None] * len(lists), ranking, relevance).evaluation
    expected = evaluate(ranking, relevance, len(lists))
    for setup in SETUPS:
        np.testing.assert_array_equal(found.ap[setup], expected.ap[setup])
        for k in DEPTHS:
            np.testing.assert_array_equal(found.precision[k][setup], expected.precision[k][setup])
