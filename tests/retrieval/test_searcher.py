"""The searcher of indexes that the pipeline built, and the extractor of their queries."""

import shutil
import timeit
from pathlib import Path

import numpy as np
import pytest
import torch

from lrcr.config.retrieval import SearchParams
from lrcr.data.dataset import open_dataset
from lrcr.data.ranking import Ranking
from lrcr.errors import ArtifactError
from lrcr.features.extractor import ExtractSettings
from lrcr.features.store import open_descriptors
from lrcr.models.factory import open_model, save_model
from lrcr.retrieval.contents import require_beside
from lrcr.retrieval.layout import IMAGES, MODEL, PARAMS
from lrcr.retrieval.queries import open_extractor
from lrcr.retrieval.searcher import Result, Searcher
from lrcr.storage.arrays import listed_folders
from lrcr.storage.artifacts import open_manifest, read_json, write_json


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


def test_a_model_of_the_same_shape_but_other_weights_is_refused_and_found(copied):
    """Its params, and so its fingerprint, are the same; only its contents tell."""
    model, manifest = open_model(copied / MODEL)
    size = (copied / MODEL).stat().st_size
    with torch.no_grad():
        for weights in model.parameters():
            weights.neg_()
    save_model(copied / MODEL, model, manifest)
    assert (copied / MODEL).stat().st_size == size
    searcher = Searcher(copied)
    with pytest.raises(
        ArtifactError, match=r"model\.safetensors: not the model that the index was built with; index again"
    ):
        open_extractor(searcher)
    with pytest.raises(
        ArtifactError, match=r"model\.safetensors: missing or altered since it was made; build the index again"
    ):
        searcher.index.verify()
    (copied / MODEL).unlink()
    with pytest.raises(ArtifactError, match=r"model\.safetensors: no such file"):
        open_extractor(searcher)


BESIDE = [MODEL, PARAMS, IMAGES, "codebook/manifest.json", "codebook/weight.npy", "codebook/bias.npy"]


def test_the_manifest_lists_every_file_with_its_size(words, gem):
    for made in (words, gem):
        facts = open_manifest(made / "index", "index").facts
        listed = {
            f"{entry['folder']}/{name}".removeprefix("./") for entry in listed_folders(facts) for name in entry["files"]
        }
        found = {file.relative_to(made / "index").as_posix() for file in (made / "index").rglob("*") if file.is_file()}
        assert found == {*listed, "manifest.json"}


@pytest.mark.parametrize("name", BESIDE)
def test_a_missing_short_or_altered_file_is_named(copied, name):
    path, whole = copied / name, Searcher(copied)
    contents = path.read_bytes()
    path.write_bytes(contents[:-1])
    short = rf"{name}: {len(contents) - 1} bytes, not {len(contents)} bytes as when the index was made; build the index"
    with pytest.raises(ArtifactError, match=short):
        Searcher(copied)
    path.write_bytes(contents[:-1] + bytes([contents[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=rf"{name}: missing or altered since it was made; build the index again"):
        whole.index.verify()
    if name != MODEL:  # it is large, and read only to describe queries
        with pytest.raises(ArtifactError, match=rf"{name}: altered since the index was made; build the index again"):
            Searcher(copied)
    path.unlink()
    with pytest.raises(ArtifactError, match=rf"{name}: no such file; build the index again"):
        Searcher(copied)


def test_a_large_table_is_compared_when_it_is_read(copied, monkeypatch):
    monkeypatch.setattr("lrcr.retrieval.contents._SMALL", 100)
    contents = bytearray((copied / IMAGES).read_bytes())
    contents[len(contents) // 2] ^= 1
    (copied / IMAGES).write_bytes(contents)
    searcher = Searcher(copied)
    with pytest.raises(
        ArtifactError, match=r"images\.parquet: altered since the index was made; build the index again"
    ):
        _ = searcher.images


def test_opening_takes_milliseconds(copied):
    Searcher(copied)
    assert min(timeit.repeat(lambda: Searcher(copied), number=1, repeat=5)) < 0.05


def test_a_folder_that_is_no_index_is_refused(tmp_path, copied):
    with pytest.raises(ArtifactError, match=r"none/manifest\.json: no such file"):
        Searcher(tmp_path / "none")
    manifest = read_json(copied / "manifest.json")
    for beside in ({}, {"beside": 3}, {"beside": {"files": {"a": 1}}}):
        facts = {name: value for name, value in manifest["facts"].items() if name != "beside"}
        write_json(copied / "manifest.json", {**manifest, "facts": {**facts, **beside}})
        with pytest.raises(
            ArtifactError, match=r"manifest\.json: lists no files beside the arrays; build the index again"
        ):
            Searcher(copied)


def test_an_open_searcher_keeps_its_state_when_the_index_is_built_again(copied, words):
    searcher, queries = Searcher(copied), descriptors(words)
    shutil.rmtree(copied)
    shutil.copytree(words / "index", copied)
    assert len(searcher.images) == 16 and searcher.images["name"][3] == "images/3.png"
    assert not searcher.index.explains and Searcher(copied).index.explains
    assert len(Searcher(copied).search(queries)) == 256


def test_what_a_writer_removes_while_a_searcher_opens_is_looked_for_again(copied, words, monkeypatch):
    """The manifest that was read is no longer that of the folder, so the new one is read."""
    manifest, table = (copied / "manifest.json").read_text(), (copied / IMAGES).read_bytes()
    stale = manifest.replace(IMAGES, "images-0000.parquet")
    (copied / "manifest.json").write_text(stale)

    def require(folder, facts):
        (copied / "manifest.json").write_text(manifest)
        monkeypatch.undo()
        require_beside(folder, facts)

    monkeypatch.setattr("lrcr.retrieval.searcher.require_beside", require)
    assert len(Searcher(copied).images) == 16
    assert (copied / IMAGES).read_bytes() == table


@pytest.mark.parametrize("replaced", [True, False])
def test_a_file_may_disappear_at_any_moment_of_opening(copied, monkeypatch, replaced):
    manifest = (copied / "manifest.json").read_text()

    def require(folder, facts):
        monkeypatch.undo()
        if replaced:
            (copied / "manifest.json").write_text(f"{manifest}\n")
        raise FileNotFoundError("images-0000.parquet")

    monkeypatch.setattr("lrcr.retrieval.searcher.require_beside", require)
    if replaced:
        assert len(Searcher(copied).images) == 16
    else:
        with pytest.raises(FileNotFoundError):
            Searcher(copied)
