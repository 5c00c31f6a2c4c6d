"""The searcher of indexes that the pipeline built, and the extractor of their queries."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lrcr.config.retrieval import SearchParams
from lrcr.data.dataset import open_dataset
from lrcr.data.ranking import Ranking
from lrcr.errors import ArtifactError, ParamsError
from lrcr.features.extractor import ExtractSettings
from lrcr.features.store import open_descriptors
from lrcr.retrieval.layout import MODEL
from lrcr.retrieval.queries import open_extractor
from lrcr.retrieval.searcher import Result, Searcher

from .steps import make_model, small


def descriptors(made: Path):
    return open_descriptors(made / "descriptors/database").read()


@pytest.mark.parametrize("kind", ["words", "gem"])
def test_each_photo_finds_itself_first(request, kind):
    made = request.getfixturevalue(kind)
    ranking = Searcher(made / "index", SearchParams(multiple_assignment=1)).search(descriptors(made), top=1)
    np.testing.assert_array_equal(ranking.image, np.arange(16))
    np.testing.assert_allclose(ranking.score, 1, atol=1e-5)


def test_without_settings_the_defaults_search(words):
    expected = Searcher(words / "index", SearchParams()).search(descriptors(words))
    found = Searcher(words / "index").search(descriptors(words))
    np.testing.assert_array_equal(found.score, expected.score)
    strict = Searcher(words / "index", SearchParams(tau=0.8)).search(descriptors(words))
    assert not np.allclose(strict.score, expected.score, atol=1e-3)


def test_a_searcher_knows_its_index(words, gem):
    searcher = Searcher(words / "index")
    assert searcher.params.codebook.words == 6 and searcher.params.model.is_local
    assert (searcher.index.images, searcher.index.explains) == (16, True)
    assert Searcher(gem / "index").index.summary == "16 images, 3 dimensions and 20 bytes an image"
    searcher.index.verify()


def test_results_are_the_rows_of_a_ranking(gem, landmarks):
    searcher = Searcher(gem / "index")
    ranking = Ranking(
        query=np.array([0, 1, 1, 1]), image=np.array([3, 15, 2, 7]), score=np.array([0.9, 0.5, 0.25, 0.125], np.float32)
    )
    assert searcher.results(ranking, 1) == [
        Result(1, 0.5, "images/15.png", None, landmarks.resolve() / "images/15.png"),
        Result(2, 0.25, "images/2.png", "landmark 2", landmarks.resolve() / "images/2.png"),
        Result(3, 0.125, "images/7.png", "landmark 2", landmarks.resolve() / "images/7.png"),
    ]
    assert [result.image for result in searcher.results(ranking)] == ["images/3.png"]
    assert searcher.results(ranking, 2) == []


def test_photos_are_described_as_the_database_was(words, landmarks):
    searcher = Searcher(words / "index")
    extractor = open_extractor(searcher)
    assert extractor.settings == ExtractSettings(48, [1.0, 0.7], 20)
    photos = open_dataset(landmarks).photos()
    found, stored = extractor.describe(photos[:5]), open_descriptors(words / "descriptors/database")
    np.testing.assert_array_equal(found.descriptors, stored.read().take(range(5)).descriptors)
    np.testing.assert_array_equal(found.xy, stored.read().take(range(5)).xy)


@pytest.fixture
def copied(tmp_path, gem):
    shutil.copytree(gem / "index", tmp_path / "index")
    return tmp_path / "index"


def test_another_model_than_the_indexs_is_refused(tmp_path, copied):
    make_model(tmp_path, small("seed=1"))
    shutil.copy(tmp_path / "model.pt", copied / MODEL)
    searcher = Searcher(copied)
    with pytest.raises(
        ArtifactError, match=r"model\.safetensors: not the model that the index was built with; index again"
    ):
        open_extractor(searcher)
    (copied / MODEL).unlink()
    with pytest.raises(ArtifactError, match=r"model\.safetensors: no such file"):
        open_extractor(searcher)


def test_a_table_of_images_that_is_not_the_indexs_is_refused(copied):
    table = pd.read_parquet(copied / "images.parquet")
    table[:7].to_parquet(copied / "images.parquet")
    with pytest.raises(ArtifactError, match=r"images\.parquet: 7 images for an index of 16"):
        _ = Searcher(copied).images
    (copied / "images.parquet").write_bytes(b"text")
    with pytest.raises(ArtifactError, match=r"images\.parquet: not a table of images \(.*\); index again"):
        _ = Searcher(copied).images
    (copied / "images.parquet").unlink()
    with pytest.raises(ArtifactError, match=r"images\.parquet: not a table of images \(.*\); index again"):
        _ = Searcher(copied).images


def test_a_folder_that_is_no_index_is_refused(tmp_path, copied):
    with pytest.raises(ArtifactError, match=r"none/params\.json: no such file"):
        Searcher(tmp_path / "none")
    (copied / "params.json").write_text('{"codebook": {"words": 0}}')
    with pytest.raises(ParamsError, match=r"params\.json: codebook\.words: 0 is refused"):
        Searcher(copied)
