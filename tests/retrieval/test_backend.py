"""The steps from model to metrics for global models, through the same functions as for local ones."""

import numpy as np
import pytest
from PIL import Image

from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.data.dataset import open_dataset
from lrcr.data.ranking import Ranking
from lrcr.errors import ArtifactError, WeightsError
from lrcr.evaluation.evaluate import evaluate_dataset
from lrcr.evaluation.metrics import evaluate
from lrcr.features.extraction import extract_dataset, extract_fit, extract_photos
from lrcr.features.store import open_descriptors
from lrcr.models.factory import MODEL_SECTIONS, build_model, open_model, save_model
from lrcr.report.dataset import report_dataset
from lrcr.retrieval.build import CODEBOOK, index_dataset, make_codebook
from lrcr.retrieval.flat.vectors import normalise
from lrcr.retrieval.flat.whitening import open_whitening
from lrcr.retrieval.searcher import Searcher
from lrcr.storage.artifacts import Manifest

NAMES = ["mac", "spoc", "gem", "rmac", "solar", "apgem", "cfcd"]


def small(name: str, *overrides: str) -> Params:
    settings = ("backbone.weights=none", "backbone.skip_layers=3", "extract.image_size=48", "extract.scales=[1.0, 0.7]")
    return load_params(overrides=[*settings, f"model.name={name}", "codebook.dim=3", *overrides])


def make(folder, params, landmarks):
    """All artifacts from the model to the index, below `folder`."""
    save_model(folder / "model.pt", build_model(params), Manifest("model", params.sections(*MODEL_SECTIONS), {}))
    extract_dataset(params, folder / "model.pt", landmarks, folder / "descriptors")
    extract_fit(params, folder / "model.pt", landmarks, folder / "fit")
    index(folder, params, landmarks)


def index(folder, params, landmarks):
    make_codebook(params, folder / "fit", folder / "codebook")
    made = (folder / "model.pt", landmarks, folder / "descriptors", folder / "codebook")
    index_dataset(params, *made, folder / "index")


@pytest.fixture(scope="module")
def gem(tmp_path_factory, landmarks):
    folder = tmp_path_factory.mktemp("gem")
    make(folder, small("gem"), landmarks)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_every_model_goes_from_photos_to_map(tmp_path, landmarks, name):
    params = small(name)
    make(tmp_path, params, landmarks)
    result = evaluate_dataset(params, landmarks, tmp_path / "descriptors", tmp_path / "index")
    assert result.metrics["map"]["medium"] > 30
    dimensions = 512 if name == "cfcd" else 3
    assert result.metrics["dimensions"] == dimensions
    assert result.metrics["bytes_per_image"] == 4 * dimensions + 128 / 16
    assert set(result.metrics) == {"map", "mp@1", "mp@5", "mp@10", "queries", "dimensions", "bytes_per_image"}


def test_the_ranking_is_that_of_whitened_inner_products(gem, landmarks):
    params, dataset = small("gem"), open_dataset(landmarks)
    model, _ = open_model(gem / "model.pt")
    whitening, _ = open_whitening(gem / "codebook")
    result = evaluate_dataset(params, landmarks, gem / "descriptors", gem / "index")
    settings = {"image_size": 48, "scales": [1.0, 0.7], "strongest": 1, "device": next(model.parameters()).device}
    database, queries = (
        normalise(extract_photos(model, photos, **settings).descriptors @ whitening.weight.T + whitening.bias)
        for photos in (dataset.photos(), dataset.query_photos())
    )
    scores = queries @ database.T
    order = np.argsort(-scores, axis=1, kind="stable")
    expected = Ranking.from_queries(list(order), list(np.take_along_axis(scores, order, axis=1)))
    np.testing.assert_allclose(result.ranking.score, expected.score, atol=1e-4)
    truth = evaluate(expected, dataset.relevance, len(dataset.queries)).map["medium"]
    assert result.metrics["map"]["medium"] == pytest.approx(truth, abs=1)


def test_a_search_finds_each_photo_itself_first(gem, landmarks):
    searcher = Searcher(gem / "index")
    ranking = searcher.search(open_descriptors(gem / "descriptors" / "database").read(), top=1)
    np.testing.assert_array_equal(ranking.image, np.arange(16))
    np.testing.assert_allclose(ranking.score, 1, atol=1e-5)
    assert searcher.summary == "16 images, 3 dimensions and 20 bytes an image"
    searcher.verify()


def test_half_precision_halves_the_bytes_and_keeps_the_ranking(tmp_path, gem, landmarks):
    params = small("gem", "index.dtype=float16")
    made = (gem / "model.pt", landmarks, gem / "descriptors", gem / "codebook")
    index_dataset(params, *made, tmp_path / "index")
    half, full = (
        evaluate_dataset(p, landmarks, gem / "descriptors", folder)
        for p, folder in ((params, tmp_path / "index"), (small("gem"), gem / "index"))
    )
    assert half.metrics["bytes_per_image"] - 8 == (full.metrics["bytes_per_image"] - 8) / 2
    np.testing.assert_allclose(np.sort(half.ranking.score), np.sort(full.ranking.score), atol=2e-3)


def test_without_whitening_vectors_are_as_extracted(tmp_path, gem, landmarks):
    params = small("gem", "codebook.whitening=none")
    make_codebook(params, gem / "fit", tmp_path / "codebook")
    index_dataset(params, gem / "model.pt", landmarks, gem / "descriptors", tmp_path / "codebook", tmp_path / "index")
    searcher = Searcher(tmp_path / "index")
    assert searcher.index.manifest.facts["dimensions"] == 64


def test_a_given_whitening_is_taken(tmp_path, gem, landmarks):
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(5, 64)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    np.savez(tmp_path / "w.npz", whiten_weight=weight, whiten_bias=bias)
    make_codebook(small("gem", f"codebook.file={tmp_path / 'w.npz'}"), tmp_path / "none", tmp_path / "codebook")
    np.testing.assert_array_equal(open_whitening(tmp_path / "codebook")[0].weight, weight)
    np.savez(tmp_path / "w.npz", centroids=weight)
    with pytest.raises(WeightsError, match=r"codebook\.file: .*w\.npz: .*store whiten_weight and whiten_bias"):
        make_codebook(small("gem", f"codebook.file={tmp_path / 'w.npz'}"), tmp_path / "none", tmp_path / "other")


def test_discriminative_whitening_takes_the_labels_of_the_fit_set(tmp_path, gem):
    make_codebook(small("gem", "codebook.whitening=discriminative"), gem / "fit", tmp_path / "codebook")
    found, pca = open_whitening(tmp_path / "codebook")[0], open_whitening(gem / "codebook")[0]
    assert found.weight.shape == pca.weight.shape and not np.allclose(found.weight, pca.weight, atol=1e-2)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.name=mac", "model.name = gem, but the params now say mac"),
        ("codebook.dim=2", "codebook.dim = 3, but the params now say 2"),
        ("extract.scales=[1]", "extract.scales ="),
    ],
)
def test_artifacts_made_under_other_params_are_refused(tmp_path, gem, landmarks, override, said):
    made = (gem / "model.pt", landmarks, gem / "descriptors", gem / "codebook")
    with pytest.raises(ArtifactError, match=said):
        index_dataset(small("gem", override), *made, tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_places_cannot_be_explained(gem):
    searcher = Searcher(gem / "index")
    assert not searcher.explains
    with pytest.raises(ArtifactError, match="holds global vectors, which have no places to explain"):
        searcher.explain(None, None)


def test_the_index_carries_its_whitening(gem):
    whitening, _ = open_whitening(gem / "index" / CODEBOOK)
    assert whitening.weight.shape == (3, 64)


def test_speed_is_measured(gem):
    speed = Searcher(gem / "index").measure(3)
    assert set(speed) == {"open_ms", "query_ms", "batch_ms", "bytes_per_image"}
    assert min(speed.values()) > 0


def test_a_report_has_ranked_lists_and_no_maps(tmp_path, gem, landmarks):
    evaluate_dataset(small("gem"), landmarks, gem / "descriptors", gem / "index").ranking.save(tmp_path / "r.parquet")
    inputs = (landmarks, gem / "descriptors", gem / "index", tmp_path / "r.parquet")
    metrics = report_dataset(small("gem"), *inputs, tmp_path / "report")
    assert metrics["bandwidth_gradient_correlation"]["images"] == 0
    assert [file.name for file in (tmp_path / "report").iterdir()] == ["rankings.png"]
    with Image.open(tmp_path / "report" / "rankings.png") as sheet:
        assert np.array(sheet).std() > 10
