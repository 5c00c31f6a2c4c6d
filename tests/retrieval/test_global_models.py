"""Global models go from photos to mAP by the same functions as local ones."""

import numpy as np
import pytest
from PIL import Image

from lrcr.config.retrieval import SearchParams
from lrcr.data.dataset import open_dataset
from lrcr.data.ranking import Ranking
from lrcr.evaluation.evaluate import evaluate_dataset
from lrcr.evaluation.metrics import evaluate
from lrcr.features.extractor import ExtractSettings, extract_photos
from lrcr.models.factory import open_model
from lrcr.report.dataset import report_dataset
from lrcr.retrieval.codebook import make_codebook
from lrcr.retrieval.flat.vectors import normalise
from lrcr.retrieval.flat.whitening import open_whitening
from lrcr.retrieval.searcher import Searcher

from .steps import make_all, make_index, small_global

NAMES = ["mac", "spoc", "rmac", "solar", "apgem", "cfcd"]


def assert_good(metrics, dimensions):
    assert metrics["map"]["medium"] > 30
    assert metrics["dimensions"] == dimensions
    assert metrics["bytes_per_image"] == 4 * dimensions + 128 / 16
    assert set(metrics) == {"map", "mp@1", "mp@5", "mp@10", "queries", "dimensions", "bytes_per_image"}


@pytest.mark.parametrize("name", NAMES)
def test_every_model_goes_from_photos_to_map(tmp_path, landmarks, name):
    params = small_global(name)
    make_all(tmp_path, params, landmarks)
    result = evaluate_dataset(params, landmarks, tmp_path / "descriptors", tmp_path / "index")
    assert_good(result.metrics, 512 if name == "cfcd" else 3)


def test_results_are_ranked_again_in_each_setup(gem, landmarks):
    params = small_global("gem", "rerank=[{kind: expansion, images: 2}, {kind: superglobal, top: 5, neighbours: 2}]")
    first, result = (
        evaluate_dataset(given, landmarks, gem / "descriptors", gem / "index")
        for given in (small_global("gem"), params)
    )
    np.testing.assert_array_equal(result.ranking.image, first.ranking.image)
    assert {name: result.metrics[name] for name in first.metrics} == first.metrics
    relevance = open_dataset(landmarks).relevance
    for setup, ranking in result.reranked.items():
        assert not np.array_equal(ranking.image, first.reranked[setup].image)
        assert result.metrics["reranked"]["map"][setup] == evaluate(ranking, relevance, 15).map[setup]
        np.testing.assert_array_equal(result.per_query[setup], evaluate(ranking, relevance, 15).ap[setup])
    assert set(result.metrics) == {*first.metrics, "reranked"}
    assert set(result.cost) == {*first.cost, "rerank_ms_per_query"}


def test_the_ranking_is_that_of_whitened_inner_products(gem, landmarks):
    dataset = open_dataset(landmarks)
    model, _ = open_model(gem / "model.pt")
    whitening, _ = open_whitening(gem / "codebook")
    result = evaluate_dataset(small_global("gem"), landmarks, gem / "descriptors", gem / "index")
    assert_good(result.metrics, 3)
    settings, device = ExtractSettings(48, [1.0, 0.7], 1), next(model.parameters()).device
    database, queries = (
        normalise(extract_photos(model, photos, settings, device).descriptors @ whitening.weight.T + whitening.bias)
        for photos in (dataset.photos(), dataset.query_photos())
    )
    scores = queries @ database.T
    order = np.argsort(-scores, axis=1, kind="stable")
    expected = Ranking.from_queries(list(order), list(np.take_along_axis(scores, order, axis=1)))
    np.testing.assert_allclose(result.ranking.score, expected.score, atol=1e-4)
    truth = evaluate(expected, dataset.relevance, len(dataset.queries)).map["medium"]
    assert result.metrics["map"]["medium"] == pytest.approx(truth, abs=1)


def test_half_precision_keeps_the_ranking(tmp_path, gem, landmarks):
    params = small_global("gem", "index.dtype=float16")
    make_index(gem, params, landmarks, tmp_path / "index")
    half, full = (
        evaluate_dataset(p, landmarks, gem / "descriptors", folder)
        for p, folder in ((params, tmp_path / "index"), (small_global("gem"), gem / "index"))
    )
    np.testing.assert_allclose(np.sort(half.ranking.score), np.sort(full.ranking.score), atol=2e-3)
    assert half.metrics["map"] == pytest.approx(full.metrics["map"], abs=3)


def test_without_whitening_vectors_are_as_extracted(tmp_path, gem, landmarks):
    params = small_global("gem", "codebook.whitening=none")
    (tmp_path / "model.pt").write_bytes((gem / "model.pt").read_bytes())
    (tmp_path / "descriptors").symlink_to(gem / "descriptors")
    make_codebook(params, gem / "fit", tmp_path / "codebook")
    make_index(tmp_path, params, landmarks, tmp_path / "index")
    index = Searcher(tmp_path / "index", SearchParams()).index
    assert index.manifest.facts["dimensions"] == 64
    stored = np.load(tmp_path / "index/vectors-0000/vectors.npy")
    model, _ = open_model(gem / "model.pt")
    photos, settings = open_dataset(landmarks).photos(), ExtractSettings(48, [1.0, 0.7], 1)
    np.testing.assert_allclose(
        stored, extract_photos(model, photos, settings, next(model.parameters()).device).descriptors, atol=1e-5
    )


def test_a_report_has_ranked_lists_and_no_matches(tmp_path, gem, landmarks):
    params = small_global("gem")
    evaluate_dataset(params, landmarks, gem / "descriptors", gem / "index").ranking.save(tmp_path / "r.parquet")
    inputs = (landmarks, gem / "descriptors", gem / "index", tmp_path / "r.parquet")
    report_dataset(params, *inputs, tmp_path / "report")
    assert [file.name for file in (tmp_path / "report").iterdir()] == ["rankings.png"]
    with Image.open(tmp_path / "report" / "rankings.png") as sheet:
        assert (sheet.format, sheet.size) == ("PNG", (3 * 16 + 204 * 7, 6 * (2 * 216 + 16) + 16))
