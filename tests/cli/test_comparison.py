"""`lrcr compare` on files; what it makes of revisions is in test_revisions.py."""

import json

import numpy as np
import pytest

from lrcr.data.dataset import open_dataset
from lrcr.data.ranking import Ranking
from lrcr.evaluation.evaluate import evaluate_ranking
from lrcr.evaluation.per_query import landmark_names, write_per_query

from .command import lrcr, refuse


def compare(*arguments):
    return lrcr("compare", *arguments)


@pytest.fixture(scope="module")
def files(landmarks, tmp_path_factory):
    """Tables of four evaluations, two methods under two seeds, and a ranking, on the dataset `landmarks`."""
    folder = tmp_path_factory.mktemp("files")
    names = landmark_names(open_dataset(landmarks))
    for number, name in enumerate(("a1", "a2", "b1", "b2")):
        ap = np.random.default_rng(number).uniform(20, 80, len(names))
        write_per_query(folder / f"{name}.csv", names.assign(easy=ap, medium=ap, hard=np.nan))
    reversed_ids = [np.arange(16)[::-1].copy()] * len(names)
    scores = [np.arange(16, 0, -1, dtype=np.float32)] * len(names)
    Ranking.from_queries(reversed_ids, scores).save(folder / "a.parquet")
    return folder


def test_two_files(files):
    found = json.loads(compare(files / "a1.csv", files / "b1.csv", "--json"))
    assert list(found) == ["easy", "medium", "hard"]
    easy = found["easy"]
    assert easy["difference"]["mean"] == pytest.approx(easy["a"]["mean"] - easy["b"]["mean"])
    assert easy["difference"]["low"] < easy["difference"]["mean"] < easy["difference"]["high"]
    assert (easy["queries"], easy["landmarks"], easy["a"]["deviation"]) == (15, 5, None)
    assert found["hard"] == {"a": None, "b": None, "difference": None, "queries": 0, "landmarks": 0}


def test_several_seeds(files):
    a, b = (",".join(str(files / f"{side}{seed}.csv") for seed in (1, 2)) for side in "ab")
    found = json.loads(compare(a, b, "--json", "--setup", "medium"))
    assert list(found) == ["medium"]
    assert found["medium"]["a"]["deviation"] > 0
    assert (found["medium"]["queries"], found["medium"]["landmarks"]) == (30, 5)
    lines = compare(a, b).splitlines()
    assert [line.split()[1] for line in lines if line.startswith("│")] == ["easy", "medium", "hard"]
    assert max(map(len, lines)) <= 80
    assert f"{found['medium']['a']['mean']:.2f} ± {found['medium']['a']['deviation']:.2f}" in lines[4]


def test_a_ranking_is_evaluated_on_its_dataset(files, landmarks, tmp_path):
    write_per_query(tmp_path / "same.csv", evaluate_ranking(files / "a.parquet", landmarks))
    found = json.loads(compare(files / "a.parquet", tmp_path / "same.csv", "--dataset", landmarks, "--json"))
    assert found["medium"]["a"]["mean"] > 0
    assert found["medium"]["difference"] == {"mean": 0, "low": 0, "high": 0}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a1.csv", "none.csv"], "none.csv: no such file; write it with `lrcr evaluate --per-query`"),
        (["a1.csv,a2.csv", "b1.csv"], "2 evaluations against 1"),
        (["a1.csv,", "b1.csv"], "'a1.csv,': contains an empty name; write A1,A2,A3 without spaces"),
        (["a1.csv", "b1.csv", "--setup", "all"], "--setup all: unknown; choose from easy, medium, hard"),
        (["a1.csv", "b1.csv", "--dataset", "x"], "--dataset x: only rankings (.parquet) need it"),
        (["a1.csv", "b1.csv", "--dataset-name", "x"], "--dataset-name x: only revisions need it"),
        (["a1.csv", "a.parquet"], "a.parquet: a ranking needs its ground truth"),
        (["a1.csv", "none.parquet", "--dataset", "DATASET"], "none.parquet: no such file"),
        (["a1.csv", "large.parquet", "--dataset", "DATASET"], "large.parquet: image 16, but"),
        (["a1.csv", "long.parquet", "--dataset", "DATASET"], "long.parquet: ranking: query 15, but there are 15"),
        (["a1.csv", "other.csv"], "row 0: landmark 'landmark 0' against 'x'"),
    ],
)
def test_bad_input_is_one_line(files, landmarks, monkeypatch, arguments, said):
    monkeypatch.chdir(files)
    one = np.ones(1, np.float32)
    Ranking.from_queries([np.array([16])], [one]).save(files / "large.parquet")
    Ranking.from_queries([np.array([0])] * 16, [one] * 16).save(files / "long.parquet")
    text = (files / "a1.csv").read_text()
    (files / "other.csv").write_text(text.replace("landmark 0", "x"))
    assert said in refuse("compare", *(landmarks if argument == "DATASET" else argument for argument in arguments))
