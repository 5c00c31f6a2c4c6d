import numpy as np
import pytest

from lrcr.errors import ArtifactError
from lrcr.features.store import Descriptors, DescriptorStore, write_shard
from lrcr.models.whitening import fit_discriminative_whitening, fit_whitening
from lrcr.retrieval.flat.fit import learn_row_whitening
from lrcr.storage.artifacts import Manifest


def store_of(folder, vectors, clusters, rows_each=1):
    """A store of two shards, each image with so many rows."""
    folder.mkdir()
    names, facts = [], {"clusters": list(clusters), "descriptors": len(vectors)}
    for part, rows in enumerate(np.array_split(vectors, 2)):
        ones = np.ones(len(rows), np.float32)
        offsets = np.arange(0, len(rows) + 1, rows_each, dtype=np.int64)
        names.append(f"{part}.h5")
        write_shard(folder / names[-1], Descriptors(rows, ones, np.ones((len(rows), 2), np.float32), ones, offsets))
    return DescriptorStore(folder, Manifest("descriptors", {}, {}, {**facts, "shards": names}))


def draw(images=60, dim=8):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(images, dim)) * np.arange(1, dim + 1)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("shrinkage", [1.0, 0.5])
def test_pca_is_that_of_all_rows(tmp_path, shrinkage):
    vectors = draw()
    found = learn_row_whitening(store_of(tmp_path / "fit", vectors, range(60)), "pca", 4, shrinkage)
    weight, bias = fit_whitening([vectors], 4, shrinkage)
    np.testing.assert_allclose(found.weight, weight, atol=1e-4)
    np.testing.assert_allclose(found.bias, bias, atol=1e-4)
    whole = learn_row_whitening(store_of(tmp_path / "whole", vectors, range(60)), "pca", None)
    assert whole.weight.shape == (8, 8)


def test_discriminative_is_that_of_all_pairs_of_each_cluster(tmp_path):
    vectors, clusters = draw(), np.arange(60) // 3
    found = learn_row_whitening(store_of(tmp_path / "fit", vectors, clusters.tolist()), "discriminative", 5)
    pairs = [(i, j) for i in range(60) for j in range(60) if i < j and clusters[i] == clusters[j]]
    weight, bias = fit_discriminative_whitening(vectors, np.array(pairs), 5)
    np.testing.assert_allclose(found.weight, weight, atol=1e-4)
    np.testing.assert_allclose(found.bias, bias, atol=1e-4)


def test_few_rows_give_few_dimensions_and_a_warning(tmp_path, caplog):
    found = learn_row_whitening(store_of(tmp_path / "fit", draw(images=16), range(16)), "pca", None)
    assert len(found.bias) == 3
    assert "whitening to 3 dimensions instead of 8: each needs 5 vectors, and there are 16" in caplog.text


@pytest.mark.parametrize(
    ("images", "clusters", "rows_each", "said"),
    [
        (2, range(2), 1, "fit: 2 vectors to learn a whitening from; add images to the fit set"),
        (60, range(60), 1, "fit: no two images share a label; use codebook.whitening pca"),
        (60, [0] * 30, 2, "fit: discriminative whitening needs one vector an image; use pca"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(tmp_path, images, clusters, rows_each, said):
    store = store_of(tmp_path / "fit", draw(images), clusters, rows_each)
    with pytest.raises(ArtifactError, match=said):
        learn_row_whitening(store, "discriminative", 2)


@pytest.mark.parametrize("images", [1, 9])
def test_too_few_vectors_are_not_whitened(tmp_path, caplog, images):
    assert learn_row_whitening(store_of(tmp_path / "fit", draw(images), range(images)), "pca", 4) is None
    assert f"codebook: no whitening: it needs 10 vectors, and there are {images}" in caplog.text
