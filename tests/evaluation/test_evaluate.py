"""The evaluation of a small local model, from its artifacts to the metrics."""

from dataclasses import asdict, replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from pandas.testing import assert_frame_equal

from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.data.dataset import open_dataset
from lrcr.data.ranking import Ranking
from lrcr.errors import ArtifactError, DatasetError
from lrcr.evaluation import evaluate as module
from lrcr.evaluation.evaluate import Result, evaluate_dataset, evaluate_ranking
from lrcr.evaluation.localisation import Localisation
from lrcr.evaluation.metrics import evaluate, mean_average_precision_at
from lrcr.evaluation.per_query import tabulate_queries
from lrcr.features.extraction import extract_dataset, extract_fit
from lrcr.features.store import open_descriptors
from lrcr.models.factory import MODEL_SECTIONS, build_model, save_model
from lrcr.retrieval.asmk.engine import AsmkSearch
from lrcr.retrieval.build import index_dataset
from lrcr.retrieval.codebook import make_codebook
from lrcr.retrieval.searcher import Searcher
from lrcr.storage.artifacts import Manifest


def small(*overrides: str) -> Params:
    settings = (
        *("backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none", "backbone.crop_border=0"),
        *("smoothing.kind=average", "whitening.dim=16"),
        *("extract={image_size: 48, scales: [1.0], max_descriptors: 40}",),
        *("codebook.words=8", "codebook.max_descriptors=40"),
    )
    return load_params(overrides=[*settings, *overrides])


@pytest.fixture(scope="module")
def project(tmp_path_factory, landmarks) -> Path:
    """The artifacts of the steps before."""
    folder, params = tmp_path_factory.mktemp("project"), small()
    save_model(folder / "model.pt", build_model(params), Manifest("model", params.sections(*MODEL_SECTIONS), {}))
    extract_dataset(params, folder / "model.pt", landmarks, folder / "descriptors")
    extract_fit(params, folder / "model.pt", landmarks, folder / "fit")
    make_codebook(params, folder / "fit", folder / "codebook")
    made = (folder / "model.pt", landmarks, folder / "descriptors", folder / "codebook")
    index_dataset(params, *made, folder / "index")
    return folder


def measure(project: Path, dataset: Path, *overrides: str) -> Result:
    return evaluate_dataset(small(*overrides), dataset, project / "descriptors", project / "index")


def test_metrics_are_those_of_the_ranking_and_of_the_index(project, landmarks):
    result, dataset = measure(project, landmarks), open_dataset(landmarks)
    searcher = Searcher(project / "index")
    ranking = searcher.search(open_descriptors(project / "descriptors" / "queries").read())
    for name in ("query", "image", "score"):
        np.testing.assert_array_equal(getattr(result.ranking, name), getattr(ranking, name))
    expected = evaluate(ranking, dataset.relevance, 15)
    facts = searcher.index.manifest.facts
    statistics = ("words_per_image", "bytes_per_image", "descriptors_per_word", "imbalance", "empty_words")
    assert result.metrics == {**expected.as_metrics(), **{name: facts[name] for name in statistics}}
    assert 50 < result.metrics["map"]["medium"] < 100 and 1 < result.metrics["words_per_image"] <= 8
    assert_frame_equal(result.per_query, tabulate_queries(expected, dataset))
    assert set(result.cost) == {"search_ms_per_query", "search_threads"} and min(result.cost.values()) > 0


def test_the_search_is_timed_after_a_warm_up(project, landmarks, threads, monkeypatch):
    """A first search compiles, or loads what is compiled. Here every search takes an hour by the clock."""
    searches, rank = [], AsmkSearch.rank
    clock = mock.Mock(side_effect=lambda: 3600 * len(searches))

    def note(self, queries, top):
        searches.append(queries.count)
        return rank(self, queries, top)

    monkeypatch.setattr(AsmkSearch, "rank", note)
    monkeypatch.setattr(module, "time", mock.Mock(perf_counter=clock))
    with threads(2):
        cost = measure(project, landmarks).cost
    assert searches == [1, 15]
    assert cost == {"search_ms_per_query": 3600_000 / 15, "search_threads": 2}


def test_the_search_is_that_of_the_params(project, landmarks):
    usual, other, few = (
        measure(project, landmarks, *overrides).ranking
        for overrides in ((), ("search.tau=0.4", "search.alpha=1.0"), ("search.top=3",))
    )
    assert len(usual.image) > 45 == len(few.image) and not np.array_equal(usual.score, other.score)
    for query in range(15):
        np.testing.assert_array_equal(few.of_query(query)[0], usual.of_query(query)[0][:3])


def test_a_benchmark_may_look_at_the_top_only(project, landmarks, monkeypatch):
    dataset = replace(open_dataset(landmarks), map_depth=2)
    monkeypatch.setattr(module, "open_dataset", lambda folder: dataset)
    result = measure(project, landmarks)
    expected = mean_average_precision_at(2, result.ranking, dataset.relevance, 15)
    assert result.metrics["map@2"] == expected and 0 < expected < 100


def test_localisation_is_measured_on_stored_descriptors(project, landmarks, monkeypatch):
    place = Localisation(descriptors=30, attention=40, area=20, images=3)
    monkeypatch.setattr(module, "measure_localisation", lambda dataset, store: place)
    assert measure(project, landmarks).metrics["localisation"] == asdict(place)
    not_stored = property(lambda store: store.folder.name == "queries")
    monkeypatch.setattr("lrcr.features.store.DescriptorStore.stored", not_stored)
    assert "localisation" not in measure(project, landmarks).metrics


def test_artifacts_of_other_params_or_inputs_are_refused(project, landmarks, tmp_path, draw_dataset):
    with pytest.raises(ArtifactError, match=r"index: made with index\.pack_ids = False, but the params now say True"):
        measure(project, landmarks, "index.pack_ids=true")
    other = draw_dataset(tmp_path / "other", [(48, 36)] * 4, ["a", "a", "b", "b"])
    with pytest.raises(ArtifactError, match="index: made from another dataset than the present one"):
        measure(project, other)
    params = small("seed=1")
    model = tmp_path / "model.pt"
    save_model(model, build_model(params), Manifest("model", params.sections(*MODEL_SECTIONS), {}))
    extract_dataset(params, model, landmarks, tmp_path / "descriptors")
    with pytest.raises(ArtifactError, match="queries: made from another model than the present one"):
        evaluate_dataset(params, landmarks, tmp_path / "descriptors", project / "index")


def test_a_dataset_without_queries_is_refused(project, landmarks, tmp_path, draw_dataset):
    folder = draw_dataset(tmp_path / "unlabelled", [(16, 12)] * 2, [None, None])
    measure(project, landmarks).ranking.save(tmp_path / "ranking.parquet")
    for attempt in (lambda: measure(project, folder), lambda: evaluate_ranking(tmp_path / "ranking.parquet", folder)):
        with pytest.raises(DatasetError) as error:
            attempt()
        assert str(error.value) == "unlabelled: has no queries; give the folder labels.csv or ground_truth.json"


def test_a_stored_ranking_has_the_aps_of_its_evaluation(project, landmarks, tmp_path):
    result = measure(project, landmarks)
    result.ranking.save(tmp_path / "ranking.parquet")
    assert_frame_equal(evaluate_ranking(tmp_path / "ranking.parquet", landmarks), result.per_query)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        ([np.array([16])], r"ranking\.parquet: image 16, but .*landmarks has 16; name its dataset"),
        ([np.array([0])] * 16, r"ranking\.parquet: ranking: query 15, but there are 15 queries; search again"),
    ],
)
def test_a_stored_ranking_of_another_dataset_is_refused(landmarks, tmp_path, images, said):
    scores = [np.ones(len(of), np.float32) for of in images]
    Ranking.from_queries(images, scores).save(tmp_path / "ranking.parquet")
    with pytest.raises(ArtifactError, match=said):
        evaluate_ranking(tmp_path / "ranking.parquet", landmarks)
