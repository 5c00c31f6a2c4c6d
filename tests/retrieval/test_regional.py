"""A database with regions goes from photos to mAP by the same functions as one without."""

import numpy as np
import pytest

from lrcr.config.retrieval import SearchParams
from lrcr.data.dataset import open_dataset
from lrcr.evaluation.evaluate import evaluate_dataset
from lrcr.features.regions import grid_boxes
from lrcr.features.store import open_descriptors
from lrcr.report.dataset import report_dataset
from lrcr.retrieval.photos import PhotoIndex
from lrcr.retrieval.queries import open_extractor
from lrcr.retrieval.searcher import Searcher

from .steps import arrays, make_all, make_descriptors, make_index, small

OVERRIDES = ("model.name=delf", "extract.regions=grid", "codebook.words=20", "codebook.max_descriptors=60")


@pytest.fixture(scope="module")
def landmarks(tmp_path_factory, draw_dataset):
    """Two landmarks with three photos each: with a grid an image is described 21 times."""
    return draw_dataset(tmp_path_factory.mktemp("data") / "two", [(48, 36)] * 6, ["a", "b"] * 3)


@pytest.fixture(scope="module")
def made(tmp_path_factory, landmarks):
    folder = tmp_path_factory.mktemp("regional")
    make_all(folder, small(*OVERRIDES), landmarks)
    return folder


def test_it_goes_from_photos_to_map(tmp_path, made, landmarks):
    params = small(*OVERRIDES, "search.multiple_assignment=3", "search.idf=true")
    result = evaluate_dataset(params, landmarks, made / "descriptors", made / "index")
    assert result.metrics["map"]["medium"] > 30 and 1 < result.metrics["words_per_image"] <= 20
    result.ranking.save(tmp_path / "ranking.parquet")
    report = (landmarks, made / "descriptors", made / "index", tmp_path / "ranking.parquet", tmp_path / "report")
    report_dataset(params, *report)
    assert list((tmp_path / "report").rglob("*.png"))


def test_regions_change_the_index(tmp_path, made, landmarks):
    plain = small(*OVERRIDES, "extract.regions=none")
    make_descriptors(tmp_path, plain, landmarks)
    (tmp_path / "codebook").symlink_to(made / "codebook")
    make_index(tmp_path, plain, landmarks, tmp_path / "index")
    assert arrays(tmp_path / "index") != arrays(made / "index")


def test_without_stored_descriptors_the_index_is_the_same(tmp_path, made, landmarks):
    params = small(*OVERRIDES, "extract.store_descriptors=false")
    make_descriptors(tmp_path, params, landmarks)
    (tmp_path / "codebook").symlink_to(made / "codebook")
    make_index(tmp_path, params, landmarks, tmp_path / "index")
    found, expected = arrays(tmp_path / "index"), arrays(made / "index")
    assert found == expected


def test_matches_of_a_result_that_is_described_again_add_up_to_its_score(made, landmarks):
    searcher = Searcher(made / "index", SearchParams(multiple_assignment=3))
    query = open_descriptors(made / "descriptors" / "queries").image(0)
    results = searcher.results(searcher.search(query, 3))
    photos = open_dataset(landmarks).photos()
    extractor = open_extractor(searcher)
    for result in results:
        assert result.regions == grid_boxes(48, 36)
        photo = next(each for each in photos if str(each.path).endswith(result.image))
        found = extractor.describe([type(photo)(result.path, None, photo.orient, regions=result.regions)])
        assert len(np.unique(found.region)) == 21
        contributions = [match.contribution for match in searcher.index.explain(query, found)]
        assert sum(contributions) == pytest.approx(result.score, rel=1e-3)


def test_a_hit_of_a_photo_is_explained_by_its_regions(made, landmarks):
    index = PhotoIndex(made / "index", SearchParams(multiple_assignment=3))
    hits = index.search(open_dataset(landmarks).photos()[0].path, top=3)
    for hit in hits:
        found = index.explain(hit)
        assert len(found.hit) > 20, "which is the most that an image without regions has"
        assert sum(match.contribution for match in found.matches) == pytest.approx(hit.score, rel=1e-3)
