"""The report of a whole small pipeline: five drawn landmarks with three photos each, and one photo of nothing."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from lrcr.config.reading import load_params
from lrcr.data.ranking import Ranking
from lrcr.errors import ArtifactError, DatasetError
from lrcr.evaluation.evaluate import evaluate_dataset
from lrcr.features.extraction import extract_dataset, extract_fit
from lrcr.models.factory import MODEL_SECTIONS, build_model, save_model
from lrcr.report.dataset import report_dataset
from lrcr.retrieval.build import index_dataset, make_codebook
from lrcr.storage.artifacts import Manifest

PARAMS = load_params(
    overrides=[
        *("backbone.weights=none", "backbone.skip_layers=3", "whitening.dim=16", "smoothing.kind=learnable"),
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


def report(project, landmarks, output, params=PARAMS, ranking=None):
    return report_dataset(
        params,
        landmarks,
        project / "descriptors",
        project / "index",
        ranking or project / "ranking.parquet",
        output,
    )


def test_a_report_has_its_pictures_and_its_metric(project, landmarks, tmp_path):
    metrics = report(project, landmarks, tmp_path / "report")
    found = metrics["bandwidth_gradient_correlation"]
    assert found["images"] == 16
    assert -1 < found["mean"] < 1 and found["standard_error"] > 0
    names = sorted(file.name for file in (tmp_path / "report").iterdir())
    assert [name.split("-")[0] for name in names] == ["maps"] * 4 + ["matches"] * 4 + ["rankings.png"]
    for name in names:
        with Image.open(tmp_path / "report" / name) as picture:
            assert np.array(picture).std() > 10
    with Image.open(tmp_path / "report" / "rankings.png") as sheet:
        assert sheet.height == 6 * (2 * 216 + 16) + 16


def test_two_reports_are_equal(project, landmarks, tmp_path):
    metrics = [report(project, landmarks, tmp_path / name) for name in ("a", "b")]
    assert metrics[0] == metrics[1]
    files = [{file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("a", "b")]
    assert files[0] == files[1]


def test_a_query_without_a_correct_result_has_no_matches(project, landmarks, tmp_path):
    nothing = Ranking(query=np.array([0]), image=np.array([15]), score=np.array([0.5], np.float32))
    nothing.save(tmp_path / "ranking.parquet")
    report(project, landmarks, tmp_path / "report", ranking=tmp_path / "ranking.parquet")
    assert not list((tmp_path / "report").glob("matches-*"))


def test_inputs_that_do_not_belong_together_are_refused(project, landmarks, draw_dataset, tmp_path):
    other = draw_dataset(tmp_path / "other", [(48, 36)] * 4, ["a", "a", "b", "b"])
    with pytest.raises(ArtifactError, match="made from another dataset"):
        report(project, other, tmp_path / "report")
    with pytest.raises(ArtifactError, match="made with"):
        report(project, landmarks, tmp_path / "report", params=PARAMS.model_copy(update={"seed": 1}))
    with pytest.raises(ArtifactError, match="no such file"):
        report(project, landmarks, tmp_path / "report", ranking=tmp_path / "none.parquet")
    silent = draw_dataset(tmp_path / "silent", [(48, 36)] * 2, [None, None])
    with pytest.raises(DatasetError, match="has no queries"):
        report(project, SILENT, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_failed_report_leaves_the_last_one(project, landmarks, tmp_path):
    folder = tmp_path / "landmarks"
    shutil.copytree(landmarks, folder)
    report(project, folder, tmp_path / "report")
    before = {file.name for file in (tmp_path / "report").iterdir()}
    for photo in (folder / "images").iterdir():
        photo.write_bytes(b"no image")
    with pytest.raises(Exception, match="not an image"):
        report(project, folder, tmp_path / "report")
    assert {file.name for file in (tmp_path / "report").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir() if "report" in path.name] == ["report"]
