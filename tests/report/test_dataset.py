"""The report of a whole small pipeline: five drawn landmarks with three photos each, and one photo of nothing."""

import shutil

import numpy as np
import pytest
import torch

from lrcr.config.reading import load_params
from lrcr.data.dataset import open_dataset
from lrcr.data.ranking import Ranking
from lrcr.errors import ArtifactError, DatasetError, ImageError
from lrcr.evaluation.evaluate import evaluate_dataset, evaluate_ranking
from lrcr.features.extraction import extract_dataset, extract_fit
from lrcr.features.store import open_descriptors
from lrcr.models.factory import MODEL_SECTIONS, build_model, save_model
from lrcr.report.dataset import report_dataset
from lrcr.report.grading import choose_extremes, make_row
from lrcr.report.matches import PhotoKeypoints, ResultMatches, draw_matches
from lrcr.report.rankings import draw_rankings
from lrcr.retrieval.build import index_dataset
from lrcr.retrieval.codebook import make_codebook
from lrcr.retrieval.searcher import Searcher
from lrcr.storage.artifacts import Manifest

PARAMS = load_params(
    overrides=[
        *("backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none", "backbone.crop_border=0"),
        *("whitening.dim=16", "smoothing.kind=learnable"),
        *("extract.image_size=48", "extract.scales=[1.0]", "extract.max_descriptors=60"),
        *("codebook.words=16", "codebook.max_descriptors=60", "search.multiple_assignment=1"),
    ]
)


@pytest.fixture(scope="module")
def project(landmarks, tmp_path_factory):
    """The folder of everything that the stages before the report make."""
    folder = tmp_path_factory.mktemp("project")
    model = build_model(PARAMS)
    with torch.no_grad():
        model.smoothing.bandwidth.weight.normal_(0, 0.3, generator=torch.Generator().manual_seed(0))
    save_model(folder / "model.pt", model, Manifest("model", PARAMS.sections(*MODEL_SECTIONS), {}))
    extract_dataset(PARAMS, folder / "model.pt", landmarks, folder / "descriptors")
    extract_fit(PARAMS, folder / "model.pt", landmarks, folder / "fit")
    make_codebook(PARAMS, folder / "fit", folder / "codebook")
    made = (folder / "model.pt", landmarks, folder / "descriptors", folder / "codebook")
    index_dataset(PARAMS, *made, folder / "index")
    result = evaluate_dataset(PARAMS, landmarks, folder / "descriptors", folder / "index")
    result.ranking.save(folder / "ranking.parquet")
    return folder


def report(project, landmarks, output, ranking=None):
    report_dataset(
        PARAMS,
        landmarks,
        project / "descriptors",
        project / "index",
        ranking or project / "ranking.parquet",
        output,
    )


@pytest.fixture(scope="module")
def whole(project, landmarks, tmp_path_factory):
    """The folder of a report."""
    folder = tmp_path_factory.mktemp("whole") / "report"
    report(project, landmarks, folder)
    return folder


def files(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_the_queries_are_the_best_the_worst_and_some_drawn_ones(project, landmarks, whole, tmp_path):
    dataset, ranking = open_dataset(landmarks), Ranking.load(project / "ranking.parquet")
    ap = evaluate_ranking(project / "ranking.parquet", landmarks)["medium"].to_numpy()
    queries = choose_extremes(ap, 6, PARAMS.seed)
    rows = [make_row(dataset, ranking, query, 10, ap[query]) for query in queries]
    draw_rankings(tmp_path / "rankings.png", rows)
    assert (whole / "rankings.png").read_bytes() == (tmp_path / "rankings.png").read_bytes()
    assert sorted(whole.glob("matches-*")) == sorted(whole / f"matches-{query:04}.png" for query in queries[:4])
    assert len(list(whole.iterdir())) == 4 + 1


def test_matches_are_those_of_the_first_correct_result(project, landmarks, whole, tmp_path):
    dataset, ranking = open_dataset(landmarks), Ranking.load(project / "ranking.parquet")
    query = int(min(file.stem.removeprefix("matches-") for file in whole.glob("matches-*")))
    images, scores = ranking.of_query(query)
    grades = dataset.relevance[dataset.relevance["query"] == query].set_index("image")["grade"]
    rank, image = next((rank, int(image)) for rank, image in enumerate(images, 1) if grades.get(image) == "easy")
    asked = open_descriptors(project / "descriptors/queries").image(query)
    found = open_descriptors(project / "descriptors/database").image(image)
    index = Searcher(project / "index", PARAMS.search).index
    explained = ResultMatches(
        PhotoKeypoints(dataset.photo(image).path, found.xy),
        f"rank {rank}, easy, {scores[rank - 1]:.4f}",
        index.explain(asked, found),
    )
    draw_matches(tmp_path / "matches.png", PhotoKeypoints(dataset.query_photos()[query].path, asked.xy), [explained])
    assert (whole / f"matches-{query:04}.png").read_bytes() == (tmp_path / "matches.png").read_bytes()


def test_two_reports_are_equal(project, landmarks, whole, tmp_path):
    report(project, landmarks, tmp_path / "again")
    assert files(tmp_path / "again") == files(whole)


def test_a_query_without_a_correct_result_has_no_matches(project, landmarks, tmp_path):
    nothing = Ranking(query=np.array([0]), image=np.array([15]), score=np.array([0.5], np.float32))
    nothing.save(tmp_path / "ranking.parquet")
    report(project, landmarks, tmp_path / "report", ranking=tmp_path / "ranking.parquet")
    assert not list((tmp_path / "report").glob("matches-*"))


def test_inputs_that_do_not_belong_together_are_refused(project, landmarks, draw_dataset, tmp_path):
    other = draw_dataset(tmp_path / "other", [(48, 36)] * 4, ["a", "a", "b", "b"])
    with pytest.raises(ArtifactError, match="made from another dataset"):
        report(project, other, tmp_path / "report")
    with pytest.raises(ArtifactError, match="no such file"):
        report(project, landmarks, tmp_path / "report", ranking=tmp_path / "none.parquet")
    silent = draw_dataset(tmp_path / "silent", [(48, 36)] * 2, [None, None])
    with pytest.raises(DatasetError, match="has no queries"):
        report(project, silent, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_failed_report_leaves_the_last_one(project, landmarks, whole, tmp_path):
    folder = tmp_path / "landmarks"
    shutil.copytree(landmarks, folder)
    shutil.copytree(whole, tmp_path / "report")
    for photo in (folder / "images").iterdir():
        photo.write_bytes(b"no image")
    with pytest.raises(ImageError, match="not an image"):
        report(project, folder, tmp_path / "report")
    assert files(tmp_path / "report") == files(whole)
    assert [path.name for path in tmp_path.iterdir() if "report" in path.name] == ["report"]
