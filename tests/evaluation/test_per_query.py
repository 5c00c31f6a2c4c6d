from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from lrcr.data.dataset import Dataset, empty_table
from lrcr.data.ranking import Ranking
from lrcr.errors import ArtifactError
from lrcr.evaluation.metrics import evaluate
from lrcr.evaluation.per_query import (
    landmark_ids,
    open_per_query,
    parse_per_query,
    tabulate_queries,
    write_per_query,
)

HEADER = "query,landmark,easy,medium,hard\n"


def make_table(landmarks, ap=50.0):
    table = pd.DataFrame({"query": range(len(landmarks)), "landmark": pd.Series(landmarks, dtype="string")})
    return table.assign(**dict.fromkeys(("easy", "medium", "hard"), ap))


def test_an_evaluation_becomes_a_table():
    images = empty_table("images").reindex(range(3)).assign(image=range(3), label=["b", None, "a"])
    asked = pd.array([2, None, 1], "Int64")
    queries = empty_table("queries").reindex(range(3)).assign(query=range(3), image=asked)
    relevance = pd.DataFrame({"query": [0, 1], "image": [1, 1], "grade": ["easy", "hard"]})
    dataset = Dataset("tiny", Path(), True, "", images, queries, relevance, empty_table("pairs"))
    scores = np.array([2, 1], np.float32)
    ranking = Ranking.from_queries([np.array([1, 2]), np.array([2, 1]), np.array([0, 1])], [scores] * 3)
    table = tabulate_queries(evaluate(ranking, relevance, 3), dataset)
    nan = np.nan
    aps = {"easy": [100, nan, nan], "medium": [100, 25, nan], "hard": [nan, 25, nan]}
    assert_frame_equal(table, make_table(["a", None, None]).assign(**aps), check_dtype=False)


names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)


@given(st.lists(st.tuples(st.none() | names, st.floats(0, 100) | st.just(np.nan)), max_size=6))
def test_what_was_written_is_read(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / "ap.csv"
    table = make_table([name for name, _ in rows], [ap for _, ap in rows])
    write_per_query(path, table)
    assert_frame_equal(open_per_query(path), table, check_exact=True, check_dtype=False)


@pytest.mark.parametrize("name", ["NA", "null", "nan", "None", "7", "1e3", " ", 'a "b", c', "two\nlines"])
def test_names_that_look_like_something_else(tmp_path, name):
    write_per_query(tmp_path / "ap.csv", make_table([name, None]))
    assert open_per_query(tmp_path / "ap.csv")["landmark"].tolist() == [name, pd.NA]


def test_equal_names_are_one_landmark_and_each_nameless_query_is_its_own():
    one = make_table(["b", None, "a", "b", None])
    numbers = landmark_ids(one)
    assert numbers.dtype == np.int64
    assert numbers[0] == numbers[3]
    assert len(set(numbers)) == 4
    both = landmark_ids(pd.concat([one, one]))
    assert (both[:5] == both[5:]).all()
    assert len(set(landmark_ids(make_table(["1", None])))) == 2


@pytest.mark.parametrize(
    ("contents", "said"),
    [
        ("query,easy,medium,hard\n0,1,1,1\n", "no column 'landmark'; evaluate again"),
        ("", "not a table of APs"),
        (HEADER + "0,a,1,much,1\n", "not a table of APs"),
        (HEADER + f"{10**30},a,1,1,1\n", "not a table of APs"),
        (HEADER + "0.5,a,1,1,1\n", "not a table of APs"),
        (HEADER + ",a,1,1,1\n", "not a table of APs"),
        (HEADER + "0,a,1,1,1\n1,b,1,1,1,1,1\n", "not a table of APs"),
        (HEADER + "0,\xff,1,1,1\n", "not a table of APs"),
        (HEADER + "0,a,1,101,1\n", "medium: 101.0 is not an AP"),
        (HEADER + "0,a,1,1,-inf\n", "hard: -inf is not an AP"),
    ],
)
def test_what_is_no_table_is_refused(contents, said):
    with pytest.raises(ArtifactError, match=f"^here: {said}") as error:
        parse_per_query(contents.encode("latin-1"), "here")
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ArtifactError, match=r"none\.csv: no such file"):
        open_per_query(tmp_path / "none.csv")
    with pytest.raises(ArtifactError, match="cannot be read"):
        open_per_query(tmp_path)
