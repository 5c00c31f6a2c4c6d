"""The confidence of scores: the law on drawn scores that follow it, and how indexes are calibrated."""

import json

import numpy as np
import pytest

from lrcr.config.retrieval import SearchParams
from lrcr.data.ranking import Ranking
from lrcr.errors import ParamsError
from lrcr.retrieval.confidence import Calibration, fit_slope
from lrcr.retrieval.searcher import Searcher
from lrcr.retrieval.writer import open_writer
from lrcr.storage.artifacts import MANIFEST

from .living import KINDS, build_at_once, draw_all, make_source, tabulate

SLOPE, IMAGES = 0.3, 400


def draw_scores(queries: int, images: int = IMAGES, matches: int = 0) -> np.ndarray:
    """Scores that differ by exponential factors, those of matches by much larger ones; best first."""
    rng = np.random.default_rng(images)
    scores = rng.exponential(SLOPE, (queries, images)) + rng.normal(0, 1, (queries, 1))
    scores[:, :matches] += 20 * SLOPE
    return -np.sort(-scores, axis=1)


def rank(scores: np.ndarray, *, logarithmic: bool) -> Ranking:
    ids = [np.arange(scores.shape[1])] * len(scores)
    return Ranking.from_queries(ids, list((np.exp(scores) if logarithmic else scores).astype(np.float32)))


@pytest.mark.parametrize("matches", [0, 4, 12])
def test_the_slope_of_unrelated_scores_is_found_beside_matches(matches):
    found = fit_slope(draw_scores(300, matches=matches)[:, : IMAGES // 4], IMAGES)
    assert found == pytest.approx(SLOPE, rel=0.12)


def test_more_matches_than_are_left_out_lower_the_confidence():
    assert fit_slope(draw_scores(100, matches=36)[:, : IMAGES // 4], IMAGES) > 3 * SLOPE


@pytest.mark.parametrize("scores", [np.zeros((5, 25)), np.full((5, 25), -np.inf)])
def test_scores_that_are_all_equal_have_no_slope(scores):
    assert fit_slope(scores, 100) is None


@pytest.mark.parametrize("logarithmic", [True, False])
@pytest.mark.parametrize("images", [150, 2000])
def test_queries_without_a_match_have_results_at_the_stated_rate(logarithmic, images):
    """Whatever the number of images, and for scores on either scale."""
    calibration, count = Calibration(SLOPE, logarithmic), 1000
    scores = draw_scores(count, images)
    if not logarithmic:
        scores -= scores.mean()
    best = [calibration.confidences(rank(row[None], logarithmic=logarithmic), 1)[0] for row in scores]
    for rate in (0.5, 0.2, 0.05):
        alarms = np.mean(np.array(best) >= 1 - rate)
        assert alarms == pytest.approx(rate, abs=0.25 * rate + 2 * (rate / count) ** 0.5)


def test_the_confidence_falls_with_the_score_and_a_match_is_sure():
    confidences = Calibration(SLOPE, True).confidences(rank(draw_scores(1, matches=1), logarithmic=True), 1)
    assert confidences[0] > 0.9999 > confidences[1]
    assert (np.diff(confidences) <= 0).all() and confidences[IMAGES // 2] < 1e-9


def test_each_version_of_a_query_can_match_by_accident():
    calibration, ranking = Calibration(SLOPE, True), rank(draw_scores(4), logarithmic=True)
    alone = [calibration.confidences(rank(row[None], logarithmic=True), 1) for row in draw_scores(4)]
    np.testing.assert_allclose(calibration.confidences(ranking, 4), np.concatenate(alone) ** 4, rtol=1e-4)


def test_a_query_whose_scores_differ_more_than_those_of_the_index_is_less_sure():
    """A blank wall has few visual words, so that a single one decides."""
    scores = draw_scores(1, matches=1)
    usual, wide = (Calibration(slope, True).confidences(rank(scores, logarithmic=True), 1) for slope in (SLOPE, 0.02))
    assert (usual[1:] <= wide[1:]).all() and wide[0] > 0.99
    [own] = Calibration(0.02, True).confidences(rank(scores * 8, logarithmic=True), 1)[1:2]
    [expected] = Calibration(8 * SLOPE / 2, True).confidences(rank(scores * 8, logarithmic=True), 1)[1:2]
    assert own == pytest.approx(expected, abs=0.1) and own < 1


def test_a_query_with_few_scores_above_0_matches_nothing():
    scores = np.zeros((1, 200), np.float32)
    scores[0, :10] = 0.5
    confidences = Calibration(SLOPE, True).confidences(Ranking.from_queries([np.arange(200)], list(scores)), 1)
    assert not confidences.any()


@pytest.fixture(params=["binary", "vectors"])
def source(request, tmp_path):
    return request.param, make_source(tmp_path / "source", request.param)


def test_an_index_is_calibrated_when_it_is_built_and_again_when_it_is_changed(source, tmp_path):
    kind, folder = source
    images = {f"{number:03d}": number for number in range(120)}
    index = build_at_once(tmp_path / "index", folder, KINDS[kind], images)
    calibration = Searcher(index).calibration
    assert calibration is not None and calibration.slope > 0 and calibration.logarithmic == (kind == "binary")
    added = {f"{number:03d}": number for number in range(200, 230)}
    with open_writer(index) as writer:
        writer.remove(["007", "011"])
        writer.add(tabulate(added), [writer.backend.encode(draw_all(list(added.values())), list(added))])
        writer.commit()
    left = {name: seed for name, seed in {**images, **added}.items() if name not in ("007", "011")}
    at_once = Searcher(build_at_once(tmp_path / "again", folder, KINDS[kind], left))
    assert Searcher(index).calibration == at_once.calibration != calibration


def test_what_has_no_confidence_is_told_with_a_remedy(tmp_path):
    source = make_source(tmp_path / "source", "binary")
    index = build_at_once(tmp_path / "my.index", source, KINDS["binary"], {f"{number}": number for number in range(9)})
    with pytest.raises(ParamsError, match=r"my\.index holds 9 images, but calibration needs 100; add photos$"):
        Searcher(index).require_calibration()
    manifest = json.loads((index / MANIFEST).read_text())
    manifest["facts"]["confidence"] = {"slope": 0.3}
    (index / MANIFEST).write_text(json.dumps(manifest))
    Searcher(index, SearchParams(multiple_assignment=1)).require_calibration()
    with pytest.raises(ParamsError, match=r"for the default search\.alpha, search\.tau and search\.idf; do not set"):
        Searcher(index, SearchParams(tau=0.25)).require_calibration()


def test_an_index_of_before_is_not_calibrated(tmp_path):
    source = make_source(tmp_path / "source", "vectors")
    index = build_at_once(
        tmp_path / "my.index", source, KINDS["vectors"], {f"{number}": number for number in range(100)}
    )
    manifest = json.loads((index / MANIFEST).read_text())
    del manifest["facts"]["confidence"]
    (index / MANIFEST).write_text(json.dumps(manifest))
    searcher = Searcher(index)
    assert searcher.calibration is None
    with pytest.raises(ParamsError, match="was made before indexes were calibrated; index again"):
        searcher.require_calibration()
