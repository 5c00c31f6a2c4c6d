import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.data.ranking import Ranking, _first_repeat
from lrcr.errors import ArtifactError
from lrcr.evaluation.metrics import evaluate
from lrcr.evaluation.protocol import _find

NOT_FINITE = "the score is not finite; do not return such images"


def make(query=(0, 0, 2), image=(7, 3, 7), score=(0.75, 0.5, 0.125)):
    return Ranking(np.array(query, np.int64), np.array(image, np.int64), np.array(score, np.float32))


@st.composite
def results(draw):
    """Images and scores of a few queries, in rank order, some queries without results."""
    images, scores = [], []
    for _ in range(draw(st.integers(0, 5))):
        found = np.array(draw(st.lists(st.integers(0, 30), unique=True, max_size=12)), np.int64)
        score = np.array([draw(st.sampled_from((0, 0.25, 0.5, 1))) for _ in found], np.float32)
        order = np.lexsort((found, -score))
        images.append(found[order])
        scores.append(score[order])
    return images, scores


@settings(deadline=None)  # the first example compiles the kernel
@given(results())
def test_each_query_gets_its_own_results_back(results):
    images, scores = results
    ranking = Ranking.from_queries(images, scores)
    assert len(ranking) == sum(map(len, images))
    for query, (image, score) in enumerate(zip(images, scores, strict=True)):
        found = ranking.of_query(query)
        np.testing.assert_array_equal(found[0], image)
        np.testing.assert_array_equal(found[1], score)
    assert len(ranking.of_query(len(images))[0]) == 0
    assert ranking.rank.tolist() == [place for image in images for place in range(1, len(image) + 1)]


def test_image_ids_of_an_index_become_int64():
    found = [np.array([3], np.uint32), np.array([], np.uint32)]
    ranking = Ranking.from_queries(found, [np.ones(1, np.float32), np.ones(0, np.float32)])
    assert (ranking.query.dtype, ranking.image.dtype, ranking.score.dtype) == (np.int64, np.int64, np.float32)


def test_a_saved_ranking_is_loaded_unchanged(tmp_path):
    path = tmp_path / "ranking.parquet"
    make().save(path)
    loaded = Ranking.load(path)
    for name in ("query", "image", "score"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(make(), name))
    table = pd.read_parquet(path)
    assert list(table.columns) == ["query", "rank", "image", "score"]
    assert table["rank"].tolist() == [1, 2, 1]


def test_for_a_loaded_ranking_nothing_is_compiled_again(tmp_path):
    """Arrays that were loaded cannot be written, others can: of two kinds of arguments numba compiles two functions."""
    relevance = pd.DataFrame({"query": [0], "image": [3], "grade": ["easy"]})
    make().save(tmp_path / "ranking.parquet")
    evaluate(make(), relevance, 3)
    before = [_first_repeat.signatures, _find.__wrapped__.signatures]
    evaluate(Ranking.load(tmp_path / "ranking.parquet"), relevance, 3)
    assert [_first_repeat.signatures, _find.__wrapped__.signatures] == before
    assert [file.name for file in tmp_path.iterdir()] == ["ranking.parquet"]


def test_an_empty_ranking_can_be_saved(tmp_path):
    Ranking.from_queries([], []).save(tmp_path / "ranking.parquet")
    assert len(Ranking.load(tmp_path / "ranking.parquet")) == 0


def test_equal_rankings_give_equal_bytes(tmp_path):
    make().save(tmp_path / "a")
    make().save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_ties_and_repeats_count_only_within_a_query():
    ranking = make(query=(0, 0, 1, 1), image=(3, 5, 3, 5), score=(0.5, 0.5, 0.7, 0.7))
    assert ranking.rank.tolist() == [1, 2, 1, 2]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": (7, 3)}, "image is int64 of shape (2,); make it int64 of shape (3,)"),
        ({"query": (0, 0)}, "image is int64 of shape (3,); make it int64 of shape (2,)"),
        ({"query": (-1, 0, 2)}, "row 0 (query -1, image 7, score 0.75): query ids start at 0"),
        ({"image": (7, -3, 7)}, "row 1 (query 0, image -3, score 0.5): image ids are in 0…4294967295"),
        ({"image": (7, 2**32, 7)}, "row 1 (query 0, image 4294967296, score 0.5): image ids are in 0…4294967295"),
        ({"query": (0, 2, 1)}, "row 2 (query 1, image 7, score 0.125): queries must ascend; group the rows by query"),
        ({"score": (0.75, np.nan, 0.125)}, f"row 1 (query 0, image 3, score nan): {NOT_FINITE}"),
        ({"score": (np.inf, 0.5, 0.125)}, f"row 0 (query 0, image 7, score inf): {NOT_FINITE}"),
        (
            {"score": (0.25, 0.5, 0.125)},
            "row 1 (query 0, image 3, score 0.5): scores must not increase within a query; sort them best first",
        ),
        (
            {"score": (0.5, 0.5, 0.125)},
            "row 1 (query 0, image 3, score 0.5): images of equal score must ascend; break ties by image id",
        ),
        (
            {"image": (3, 3, 7)},
            "row 1 (query 0, image 3, score 0.5): the query has this image already; return each image once",
        ),
    ],
)
def test_violated_rules_are_named(arrays, message):
    with pytest.raises(ArtifactError) as error:
        make(**arrays)
    assert str(error.value) == f"ranking: {message}"


def test_a_repeat_is_found_at_any_distance():
    first, second = np.arange(1000), np.arange(1000)
    second[900] = 17
    score = np.arange(999, -1, -1, dtype=np.float32)
    message = "row 1900 (query 1, image 17, score 99.0): the query has this image already; return each image once"
    with pytest.raises(ArtifactError, match=re.escape(message)):
        Ranking.from_queries([first, second], [score, score])


def test_scores_are_never_rounded_silently():
    with pytest.raises(ArtifactError, match=r"score is float64 of shape \(1,\); make it float32"):
        Ranking.from_queries([np.array([1])], [np.array([0.5])])


def test_joining_needs_one_score_per_image():
    with pytest.raises(ArtifactError, match="images and scores differ in length; give each image one score"):
        Ranking.from_queries([np.array([1, 2])], [np.ones(1, np.float32)])


def test_a_missing_ranking(tmp_path):
    with pytest.raises(ArtifactError, match=r"gone\.parquet: no such file; run the stage that makes it"):
        Ranking.load(tmp_path / "gone.parquet")


def test_a_damaged_ranking(tmp_path):
    path = tmp_path / "ranking.parquet"
    make().save(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArtifactError, match=r"ranking\.parquet: not Parquet \(.*\); search again"):
        Ranking.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda table: table.drop(columns="rank"),
            "has the columns query int64, image int64, score float; a ranking has",
        ),
        (lambda table: table.assign(score=table["score"].astype("float64")), "score double; a ranking has"),
        (lambda table: table.assign(rank=[0, 1, 0]), "the ranks of a query are not 1, 2, 3, …; search again"),
        (
            lambda table: table.assign(query=[1, 0, 0]),
            "ranking.parquet: ranking: row 1 (query 0, image 3, score 0.5): queries must ascend",
        ),
        (lambda table: table.assign(image=pd.array([1, None, 2], "Int64")), "contains empty values; search again"),
    ],
)
def test_a_file_that_is_not_a_ranking(tmp_path, change, message):
    path = tmp_path / "ranking.parquet"
    make().save(path)
    change(pd.read_parquet(path)).to_parquet(path, index=False)
    with pytest.raises(ArtifactError, match=re.escape(message)):
        Ranking.load(path)


@pytest.mark.parametrize("most", [50, 2**32])
def test_the_first_repeat_is_named_whether_ids_are_dense_or_far_apart(most):
    """Few rows of many possible images are sorted; of others every image has a mark."""
    rng = np.random.default_rng(0)
    image = np.concatenate(
        [rng.choice(np.linspace(0, most - 1, 50).astype(np.int64), 20, replace=False) for _ in "abc"]
    )
    query, score = np.repeat([0, 1, 2], 20), np.tile(np.arange(20, 0, -1), 3).astype(np.float32)
    Ranking(query, image, score)
    for rows, first in (((25, 38), 38), ((0, 1), 1), ((45, 59), 59), ((21, 33, 35), 33)):
        repeated = image.copy()
        repeated[list(rows)] = image[rows[0]]
        with pytest.raises(ArtifactError, match=f"row {first} .*the query has this image already"):
            Ranking(query, repeated, score)
