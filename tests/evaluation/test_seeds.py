import numpy as np
import pandas as pd
import pytest

from lrcr.errors import ArtifactError
from lrcr.evaluation.compare import compare
from lrcr.evaluation.seeds import Side, Spread, compare_seeds


def make_side(name, ap, landmarks):
    table = pd.DataFrame({"query": range(len(ap)), "landmark": pd.Series(landmarks, dtype="string")})
    return Side(name, table.assign(easy=np.nan, medium=np.array(ap, float), hard=50.0))


def simulate(queries=30, seed=0):
    rng = np.random.default_rng(seed)
    landmarks = [f"landmark {i}" for i in rng.integers(8, size=queries)]
    a = rng.uniform(0, 100, queries)
    return make_side("a", a, landmarks), make_side("b", (a + rng.normal(3, 8, queries)).clip(0, 100), landmarks)


def test_one_seed_is_the_plain_comparison():
    a, b = simulate()
    found = compare_seeds([a], [b], "medium")
    ap_a, ap_b = a.table["medium"].to_numpy(), b.table["medium"].to_numpy()
    plain = compare(ap_a, ap_b, a.table["landmark"].factorize()[0], seed=0)
    assert (found.a, found.b) == (Spread(ap_a.mean(), None), Spread(ap_b.mean(), None))
    assert vars(found.difference) == pytest.approx(vars(plain))
    assert (found.queries, found.landmarks) == (30, 8)


def test_spread_over_seeds():
    landmarks = ["x", "y"]
    sides = [make_side("a", ap, landmarks) for ap in ([10, 30], [20, 40], [30, 50])]
    found = compare_seeds(sides, sides, "medium")
    assert found.a == found.b == Spread(30, 10)
    assert vars(found.difference) == {"mean": 0, "low": 0, "high": 0}
    assert (found.queries, found.landmarks) == (6, 2)


def test_the_difference_is_that_of_the_means_over_seeds():
    pairs = [simulate(queries, seed) for seed, queries in enumerate((10, 25, 60))]
    pairs[1][0].table.loc[3:9, "medium"] = np.nan
    pairs[1][1].table.loc[3:9, "medium"] = np.nan
    found = compare_seeds(*zip(*pairs, strict=True), "medium")
    assert found.difference.mean == pytest.approx(found.a.mean - found.b.mean)
    assert found.queries == 10 + 18 + 60


def test_more_seeds_on_the_same_landmarks_do_not_narrow_the_interval():
    rng = np.random.default_rng(0)
    landmarks = [f"landmark {i}" for i in range(40)]
    shared = rng.normal(0, 10, 40)
    b = [make_side("b", np.full(40, 50.0), landmarks) for _ in range(4)]
    a = [make_side("a", 50 + shared + rng.normal(0, 0.1, 40), landmarks) for _ in range(4)]
    one, four = compare_seeds(a[:1], b[:1], "medium").difference, compare_seeds(a, b, "medium").difference
    assert four.high - four.low == pytest.approx(one.high - one.low, rel=0.1)
    names = [[f"{seed} {name}" for name in landmarks] for seed in range(4)]
    sides = [[make_side("", side.table["medium"], of) for side, of in zip(side, names, strict=True)] for side in (a, b)]
    independent = compare_seeds(*sides, "medium").difference
    assert independent.high - independent.low < 0.75 * (four.high - four.low)


def test_a_setup_without_positives():
    a, b = simulate()
    found = compare_seeds([a, a], [b, b], "easy")
    assert (found.a, found.b, found.difference, found.queries, found.landmarks) == (None, None, None, 0, 0)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (make_side("b", [1, 2], ["x", "y"]), "a and b: 3 queries against 2"),
        (make_side("b", [1, 2, 3], ["x", "y", "z"]), "a and b: row 2: landmark '' against 'z'"),
        (make_side("b", [1, np.nan, 3], ["x", "y", None]), "a and b: query 1 has medium positives on one side only"),
    ],
)
def test_evaluations_of_different_queries(other, said):
    with pytest.raises(ArtifactError, match=f"{said}; compare evaluations of the same dataset"):
        compare_seeds([make_side("a", [1, 2, 3], ["x", "y", None])], [other], "hard")


def test_unequal_numbers_of_seeds():
    a, b = simulate()
    with pytest.raises(ArtifactError, match="2 evaluations against 1; give each seed on both sides"):
        compare_seeds([a, a], [b], "medium")


def test_no_evaluations():
    with pytest.raises(ArtifactError, match="no evaluations; give at least one on each side"):
        compare_seeds([], [], "medium")
