import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.data.ranking import Ranking
from lrcr.training.groups import group_pairs, similar_clusters


def test_clusters_are_ranked_by_the_best_score_between_their_images():
    clusters = np.array([7, 7, 2, 2, 5])
    scores = {(0, 1): 1.0, (0, 4): 0.5, (0, 2): 0.1, (1, 3): 0.9, (2, 4): 0.3, (2, 1): 0.0, (4, 3): 0.4, (4, 0): 0.2}
    query, image = np.array(list(scores)).T
    ranking = Ranking(query, image, np.array(list(scores.values()), np.float32))
    found = similar_clusters(ranking, clusters)
    # A score of 0 makes no clusters similar.
    assert {cluster: others.tolist() for cluster, others in found.items()} == {7: [2, 5], 2: [5], 5: [2, 7]}


def pairs_of(clusters, owners):
    """A pair for each owner: two different images of this cluster."""
    rng = np.random.default_rng(0)
    return np.array([rng.choice(np.flatnonzero(clusters == owner), 2, replace=False) for owner in owners])


def test_every_second_step_consists_of_groups_of_similar_clusters():
    clusters = np.repeat(np.arange(12), 2)
    # The most similar clusters of c are those of its third: 0-3, 4-7, 8-11.
    similar = {c: np.array([o for o in range(c // 4 * 4, c // 4 * 4 + 4) if o != c]) for c in range(12)}
    order = np.random.default_rng(1).permutation(np.repeat(np.arange(12), 4))
    pairs = pairs_of(clusters, order)
    found = group_pairs(pairs, clusters, similar, size=8, group=4)
    owners = clusters[found[:, 0]]
    np.testing.assert_array_equal(owners[:8], order[:8])
    for first in (8, 12):
        assert len(set(owners[first : first + 4] // 4)) == 1
        assert len(set(owners[first : first + 4])) == 4
    assert not np.array_equal(owners[8:16], order[8:16])


def test_without_similar_clusters_the_order_stays():
    clusters = np.repeat(np.arange(6), 2)
    pairs = pairs_of(clusters, [3, 1, 5, 0, 2, 4])
    np.testing.assert_array_equal(group_pairs(pairs, clusters, {}, size=2, group=2), pairs)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), number=st.integers(2, 8), size=st.integers(2, 6))
def test_all_pairs_are_kept_and_a_group_has_each_cluster_once(data, number, size):
    clusters = np.repeat(np.arange(number), 3)
    owners = data.draw(st.lists(st.integers(0, number - 1), min_size=1, max_size=30))
    group = data.draw(st.integers(1, size))
    similar = {
        c: np.array(data.draw(st.permutations([o for o in range(number) if o != c])), np.int64) for c in range(number)
    }
    pairs = pairs_of(clusters, owners)
    found = group_pairs(pairs, clusters, similar, size, group)
    np.testing.assert_array_equal(np.sort(found.view("i8,i8"), axis=0), np.sort(pairs.view("i8,i8"), axis=0))
    np.testing.assert_array_equal(group_pairs(pairs, clusters, similar, size, group), found)


def test_without_scores_above_zero_no_cluster_is_similar():
    ranking = Ranking(np.array([0, 1]), np.array([1, 0]), np.zeros(2, np.float32))
    assert similar_clusters(ranking, np.array([3, 4])) == {}
