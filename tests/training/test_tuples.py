import time
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrcr.data.dataset import Dataset, Photo, cluster_ids, open_dataset
from lrcr.errors import DatasetError
from lrcr.training.confusion import draw_tuples
from lrcr.training.tuples import TrainingSet, labelled_images, mine_negatives, require_tuples, training_set

LABELS = ["a", "b", None, "a", "c", None, "b", "a"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, draw_dataset) -> Dataset:
    pairs = pd.DataFrame({"query": [0, 1, 3, 7], "positive": [3, 6, 7, 0]})
    folder = tmp_path_factory.mktemp("data") / "drawn"
    return open_dataset(draw_dataset(folder, [(8, 6)] * 8, LABELS, pairs=pairs))


def photos_of(clusters: list[int]) -> TrainingSet:
    photos = [Photo(path=None) for _ in clusters]
    return TrainingSet(photos, np.array(clusters), np.empty((0, 2), np.int64))


def test_images_of_a_label_share_a_cluster_and_others_have_their_own(dataset):
    ids = cluster_ids(dataset)
    for i, a in enumerate(LABELS):
        for j, b in enumerate(LABELS):
            assert (ids[i] == ids[j]) == (i == j or (a is not None and a == b))


def test_a_training_set_holds_everything_or_the_given_clusters(dataset):
    whole = training_set(dataset)
    assert whole.photos == dataset.photos()
    np.testing.assert_array_equal(whole.clusters, cluster_ids(dataset))
    np.testing.assert_array_equal(whole.pairs, [[0, 3], [1, 6], [3, 7], [7, 0]])

    ids = cluster_ids(dataset)
    part = training_set(dataset, np.array([ids[0], ids[2]]))  # the images 0, 2, 3 and 7
    assert part.photos == [dataset.photos()[i] for i in (0, 2, 3, 7)]
    np.testing.assert_array_equal(part.clusters, ids[[0, 2, 3, 7]])
    np.testing.assert_array_equal(part.pairs, [[0, 2], [2, 3], [3, 0]])


@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_pairs_of_the_table_are_drawn_once_each(dataset, count):
    pairs = training_set(dataset).draw_pairs(count, np.random.default_rng(0))
    drawn = [tuple(pair) for pair in pairs.tolist()]
    assert len(drawn) == len(set(drawn)) == min(count, 4)
    assert set(drawn) <= {(0, 3), (1, 6), (3, 7), (7, 0)}


@given(st.lists(st.integers(0, 4), min_size=1, max_size=20), st.integers(1, 25), st.integers(0, 9))
def test_without_a_table_any_two_images_of_a_cluster_are_a_pair(clusters, count, seed):
    images = photos_of(clusters)
    shared = [i for i, cluster in enumerate(clusters) if clusters.count(cluster) > 1]
    if not shared:
        with pytest.raises(DatasetError, match=r"training: no two images share a label; label the photos"):
            images.draw_pairs(count, np.random.default_rng(seed))
        return
    pairs = images.draw_pairs(count, np.random.default_rng(seed))
    assert len(pairs) == min(count, len(shared))
    assert len(set(pairs[:, 0])) == len(pairs) and set(pairs[:, 0]) <= set(shared)
    for query, positive in pairs:
        assert query != positive and clusters[query] == clusters[positive]


def test_every_query_and_every_positive_is_drawn_at_times():
    images = photos_of([0, 1, 0, 1, 0, 2])
    drawn = {tuple(pair) for seed in range(60) for pair in images.draw_pairs(2, np.random.default_rng(seed)).tolist()}
    assert drawn == {(0, 2), (0, 4), (2, 0), (2, 4), (4, 0), (4, 2), (1, 3), (3, 1)}


def hardest(similarity, query, pool, clusters, count):
    """Walk down the ranking and take the first image of each new cluster."""
    taken, seen = [], {clusters[query]}
    for place in sorted(range(len(pool)), key=lambda place: (-similarity[place], place)):
        if clusters[pool[place]] not in seen:
            seen.add(clusters[pool[place]])
            taken.append(pool[place])
    return taken[:count]


@given(st.data())
def test_negatives_against_the_ranking(data):
    clusters = np.array(data.draw(st.lists(st.integers(0, 5), min_size=2, max_size=15)))
    ids = st.integers(0, len(clusters) - 1)
    pool = np.array(sorted(data.draw(st.sets(ids, min_size=1))))
    queries = np.array(data.draw(st.lists(ids, min_size=1, max_size=4)))
    count = data.draw(st.integers(1, 3))
    scores = st.integers(-3, 3).map(float)  # ties are common
    similarity = np.array(
        [data.draw(st.lists(scores, min_size=len(pool), max_size=len(pool))) for _ in queries], np.float32
    )
    expected = [hardest(row, query, pool, clusters, count) for row, query in zip(similarity, queries, strict=True)]
    if any(len(row) < count for row in expected):
        with pytest.raises(DatasetError, match=rf"training: {count} negatives need {count + 1} landmarks"):
            mine_negatives(similarity, queries, pool, clusters, count)
        return
    found = mine_negatives(similarity, queries, pool, clusters, count)
    np.testing.assert_array_equal(found, expected)
    for query, row in zip(queries, found, strict=True):
        assert len({clusters[query], *clusters[row]}) == count + 1, "clusters differ from each other and the query's"


def test_too_few_landmarks_name_numbers_and_remedy():
    similarity = np.zeros((1, 4), np.float32)
    with pytest.raises(DatasetError) as error:
        mine_negatives(similarity, np.array([0]), np.arange(4), np.array([0, 0, 1, 1]), 2)
    assert str(error.value) == (
        "training: 2 negatives need 3 landmarks, but the pool holds 2; lower train.tuples.negatives or add landmarks"
    )


def test_images_whose_label_no_other_shares_are_left_out():
    images = photos_of([7, 3, 9, 3, 5, 7, 3, 2])
    chosen, classes = labelled_images(images)
    kept = [0, 1, 3, 5, 6]
    assert all(a is images.photos[i] for a, i in zip(chosen.photos, kept, strict=True))
    assert chosen.clusters.tolist() == [7, 3, 3, 7, 3] and chosen.pairs.shape == (0, 2)
    assert classes.tolist() == [1, 0, 0, 1, 0] and classes.dtype == np.int64


@pytest.mark.parametrize("clusters", [[], [0], [0, 0, 1], [0, 1, 2]])
def test_fewer_than_two_labels_to_tell_apart_are_refused(clusters):
    with pytest.raises(DatasetError) as error:
        labelled_images(photos_of(clusters))
    assert str(error.value) == ("training: fewer than two labels have two images; label more photos (a labels.csv)")


@pytest.mark.parametrize("negatives", [0, 2])
def test_one_photo_a_label_is_too_few(negatives):
    message = r"training: no two images share a label; label the photos \(a labels.csv\): 4 landmarks have one image$"
    with pytest.raises(DatasetError, match=message):
        require_tuples(photos_of([0, 1, 2, 3]), negatives)


def test_one_label_is_too_few():
    with pytest.raises(DatasetError, match=r"^training: all images have the same label; label photos of a second"):
        require_tuples(photos_of([4, 4, 4]), 0)


def test_two_labels_allow_one_negative():
    require_tuples(photos_of([0, 0, 1, 1]), 1)
    message = (
        "training: 2 negatives need 3 landmarks, but the pool holds 2; lower train.tuples.negatives or add landmarks"
    )
    with pytest.raises(DatasetError, match=message):
        require_tuples(photos_of([0, 0, 1, 1]), 2)


def test_eighty_thousand_labels_take_seconds(tmp_path):
    """Images with two photos a label: split, checked, and drawn from by the tuples and by the classifier."""
    names = pd.Series([f"landmark {i}" for i in range(80_000)] * 2, dtype="string")
    photos = [Photo(tmp_path / "photo.jpg")] * len(names)
    table = pd.DataFrame({"image": range(len(names)), "path": "photo.jpg", "label": names})
    dataset = Mock(spec=Dataset, images=table, pairs=pd.DataFrame({"query": [], "positive": []}), photos=lambda: photos)
    start, rng = time.process_time(), np.random.default_rng(0)
    images = training_set(dataset, np.arange(64_000))
    require_tuples(images, 5)
    pairs = images.draw_pairs(2000, rng)
    labelled, classes = labelled_images(images)
    tuples = draw_tuples(labelled, classes, classes, 1000, 6, rng)
    assert time.process_time() - start < 5
    assert (images.clusters[pairs[:, 0]] == images.clusters[pairs[:, 1]]).all() and (pairs[:, 0] != pairs[:, 1]).all()
    assert classes.max() == 63_999 and tuples.shape == (1000, 8)
    assert (classes[tuples[:, :1]] != classes[tuples[:, 2:]]).all()
