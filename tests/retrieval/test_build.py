"""The index stage: which artifacts belong together, and what lies beside the index."""

import shutil

import numpy as np
import pandas as pd
import pytest

from lrcr.config.retrieval import CodebookParams
from lrcr.data.dataset import open_dataset
from lrcr.errors import ArtifactError, ParamsError
from lrcr.features.store import open_descriptors
from lrcr.models.header import read_model_manifest
from lrcr.progress import Progress
from lrcr.retrieval.asmk.codebook import open_codebook
from lrcr.retrieval.flat.whitening import open_whitening
from lrcr.retrieval.layout import CODEBOOK, IMAGES, MODEL, PARAMS
from lrcr.retrieval.searcher import Searcher
from lrcr.storage.artifacts import open_manifest, read_json

from .steps import arrays, make_index, make_model, small, small_global


def test_an_index_holds_what_a_search_needs(words, gem):
    for made, extra in ((words, {"segment-0000", "weights-0001"}), (gem, {"vectors-0000"})):
        names = {path.name for path in (made / "index").iterdir()}
        assert names == {"manifest.json", MODEL, CODEBOOK, IMAGES, PARAMS, *extra}
        assert (made / "index" / MODEL).read_bytes() == (made / "model.pt").read_bytes()
    np.testing.assert_array_equal(
        open_codebook(words / "index" / CODEBOOK)[0].centroids, open_codebook(words / "codebook")[0].centroids
    )
    np.testing.assert_array_equal(
        open_whitening(gem / "index" / CODEBOOK)[0].weight, open_whitening(gem / "codebook")[0].weight
    )


def test_an_index_is_identified_by_what_it_was_made_from(words, landmarks):
    manifest = open_manifest(words / "index", "index")
    assert manifest.params == small().sections("index")
    assert manifest.inputs == {
        "model": read_model_manifest(words / "model.pt").fingerprint,
        "dataset": open_dataset(landmarks).fingerprint,
        "codebook": open_manifest(words / "codebook", "codebook").fingerprint,
        "descriptors": open_descriptors(words / "descriptors/database").manifest.fingerprint,
    }
    assert manifest.facts["images"] == 16


def test_the_params_of_an_index_leave_out_how_it_is_searched_and_trained(tmp_path, words, landmarks):
    stored = read_json(words / "index" / PARAMS)
    assert not {"search", "train", "data", "datasets"} & stored.keys()
    assert {"model", "extract", "codebook", "index", "backbone", "device", "seed"} <= stored.keys()
    assert stored["codebook"] == CodebookParams(words=6, max_descriptors=20, iterations=5).model_dump(mode="json")
    make_index(words, small("search.tau=0.5", "search.top=3"), landmarks, tmp_path / "other")
    for name in (PARAMS, "manifest.json"):
        assert (tmp_path / "other" / name).read_bytes() == (words / "index" / name).read_bytes()


def test_images_are_found_from_any_folder(words, landmarks):
    table, dataset = Searcher(words / "index").images, open_dataset(landmarks)
    assert table["name"].tolist() == dataset.images["path"].tolist()
    assert table["path"].tolist() == [str((landmarks / name).resolve()) for name in table["name"]]
    assert table["archive"].isna().all()
    assert table["label"].isna().tolist() == [False] * 15 + [True]


def test_paths_are_stored_below_a_root_that_can_move(words, landmarks, tmp_path):
    stored = pd.read_parquet(words / "index" / IMAGES)
    assert stored["path"].tolist() == open_dataset(landmarks).images["path"].tolist()
    assert open_manifest(words / "index", "index").facts["roots"] == [str(landmarks.resolve())]
    moved = Searcher(words / "index", photos=[tmp_path]).images
    assert moved["path"].tolist() == [str(tmp_path.resolve() / name) for name in stored["path"]]
    with pytest.raises(ParamsError, match=r"--photos: 2 folders, but the images of .*index lie in 1 \(.*landmarks\)"):
        Searcher(words / "index", photos=[tmp_path, tmp_path])


def test_each_shard_is_a_step(tmp_path, words, landmarks):
    class Recorder(Progress):
        def __init__(self):
            self.tasks, self.steps = [], 0

        def task(self, description, total):
            self.tasks.append((description, total))
            return super().task(description, total)

        def advance(self, steps=1):
            self.steps += steps

    progress = Recorder()
    make_index(words, small(), landmarks, tmp_path / "index", progress=progress)
    assert (progress.tasks, progress.steps) == ([("index", 4)], 4)
    assert arrays(tmp_path / "index") == arrays(words / "index") != {}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.name=mac", "model.pt: made with model.name = gem, but the params now say mac"),
        ("codebook.dim=2", "codebook: made with codebook.dim = 3, but the params now say 2"),
        ("extract.scales=[1]", r"descriptors: made with extract.scales = \[1.0, 0.7\], but the params now say \[1.0\]"),
        ("extract.store_descriptors=false", "made with extract.store_descriptors = True, but the params now say False"),
    ],
)
def test_artifacts_made_under_other_params_are_refused(tmp_path, gem, landmarks, override, said):
    with pytest.raises(ArtifactError, match=f"{said}; run its stage again"):
        make_index(gem, small_global("gem", override), landmarks, tmp_path / "index")
    assert not (tmp_path / "index").exists()


def copy(made, folder):
    """The artifacts before the index."""
    folder.mkdir()
    shutil.copy(made / "model.pt", folder)
    for name in ("descriptors", "codebook"):
        shutil.copytree(made / name, folder / name)
    return folder


def test_artifacts_of_another_model_or_dataset_are_refused(tmp_path, words, landmarks, draw_dataset):
    params, other = small(), draw_dataset(tmp_path / "other", [(48, 36)] * 4, ["a", "a", "b", "b"])
    with pytest.raises(ArtifactError, match="descriptors: made from another dataset than the present one; run its"):
        make_index(words, params, other, tmp_path / "index")
    made = copy(words, tmp_path / "made")
    make_model(made, small("seed=1"))
    with pytest.raises(ArtifactError, match="descriptors: made from another model than the present one; run its"):
        make_index(made, params, landmarks, tmp_path / "index")
    shutil.copy(words / "model.pt", made / "model.pt")
    manifest = made / "codebook" / "manifest.json"
    manifest.write_text((made / "codebook" / "manifest.json").read_text().replace('"model": "', '"model": "0'))
    with pytest.raises(ArtifactError, match=r"codebook/manifest\.json: its fingerprint does not fit its contents"):
        make_index(made, params, landmarks, tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_a_refused_or_failed_build_leaves_the_last_index(tmp_path, words, landmarks):
    made = copy(words, tmp_path / "made")
    make_index(made, small(), landmarks, tmp_path / "index")
    before = arrays(tmp_path / "index")
    [shard, *_] = (made / "descriptors/database").glob("*.h5")
    shard.write_bytes(b"text")
    with pytest.raises(ArtifactError, match="not a shard of descriptors"):
        make_index(made, small(), landmarks, tmp_path / "index")
    assert arrays(tmp_path / "index") == before
    assert [path.name for path in tmp_path.iterdir() if "index" in path.name] == ["index"]


def test_half_precision_halves_the_bytes_and_keeps_the_vectors(tmp_path, gem, landmarks):
    make_index(gem, small_global("gem", "index.dtype=float16"), landmarks, tmp_path / "index")
    half, full = (open_manifest(folder, "index").facts for folder in (tmp_path / "index", gem / "index"))
    assert half["bytes_per_image"] - 8 == (full["bytes_per_image"] - 8) / 2
    vectors = [np.load(folder / "vectors-0000/vectors.npy") for folder in (tmp_path / "index", gem / "index")]
    np.testing.assert_array_equal(vectors[0], vectors[1].astype(np.float16))
