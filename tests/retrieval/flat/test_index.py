"""The flat index against a stable sort of all inner products."""

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.errors import ArtifactError
from lrcr.retrieval.flat import index as index_module
from lrcr.retrieval.flat.index import build_flat_index, open_flat_index
from lrcr.storage.artifacts import read_json, write_json


def build(folder, vectors, dtype="float32", parts=1):
    folder.mkdir(exist_ok=True)
    build_flat_index(
        folder, np.array_split(vectors, parts), len(vectors), dtype=dtype, params={"a": 1}, inputs={"b": "c"}
    )
    return open_flat_index(folder)


def draw(seed, rows, dim, values=None):
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=(rows, dim)) if values is None else rng.integers(-values, values + 1, (rows, dim))
    return drawn.astype(np.float32)


def oracle(queries, vectors, top):
    """A stable sort by falling score leaves equal scores by id."""
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    ids = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    return ids, np.take_along_axis(scores, ids, axis=1)


@settings(deadline=None)  # every example writes files
@given(
    st.integers(0, 1000),
    st.integers(1, 40),
    st.integers(1, 200),
    st.none() | st.integers(1, 250),
    st.sampled_from([1, 7, 1000]),
)
def test_whole_numbers_are_ranked_as_by_the_oracle_ties_included(tmp_path_factory, seed, queries, images, top, block):
    """Small whole numbers tie often, and their products are exact."""
    vectors, asked = draw(seed, images, 3, values=1), draw(seed + 1, queries, 3, values=1)
    index = build(tmp_path_factory.mktemp("index") / "flat", vectors, parts=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index_module, "_FLOATS_AT_ONCE", 3 * block)
        ids, scores = index.search(asked, top)
    expected_ids, expected_scores = oracle(asked, vectors, top)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_scores_are_inner_products_with_what_is_stored(tmp_path, dtype):
    vectors, asked = draw(0, 300, 48), draw(1, 25, 48)
    index = build(tmp_path / "index", vectors, dtype)
    assert index.segments[0].dtype == dtype
    ids, scores = index.search(asked, 10)
    expected_ids, expected_scores = oracle(asked, vectors.astype(dtype), 10)
    np.testing.assert_array_equal(ids, expected_ids)
    np.testing.assert_allclose(scores, expected_scores, rtol=1e-5, atol=1e-4)


def test_no_queries_and_no_images_give_empty_rankings(tmp_path):
    index = build(tmp_path / "index", draw(0, 4, 3))
    assert index.search(np.empty((0, 3), np.float32))[0].shape[0] == 0
    empty = build(tmp_path / "empty", np.empty((0, 3), np.float32))
    assert empty.search(draw(0, 2, 3))[0].shape == (2, 0)


def test_the_manifest_tells_sizes(tmp_path):
    index = build(tmp_path / "index", draw(0, 100, 32), "float16")
    facts = index.manifest.facts
    assert (facts["images"], facts["dimensions"], facts["dtype"]) == (100, 32, "float16")
    assert 64 <= facts["bytes_per_image"] < 64 + 3
    assert (index.manifest.params, index.manifest.inputs) == ({"a": 1}, {"b": "c"})


@pytest.mark.parametrize("wrong", [draw(0, 2, 4), np.full((1, 3), np.nan, np.float32), draw(0, 1, 3)[0]])
def test_queries_that_do_not_fit_are_refused(tmp_path, wrong):
    index = build(tmp_path / "index", draw(0, 5, 3))
    with pytest.raises(
        ArtifactError, match=r"the index needs finite ones of shape \(Q, 3\); extract them with its model"
    ):
        index.search(wrong)


def test_a_matrix_that_is_not_finite_is_told(tmp_path):
    vectors = draw(0, 5, 3)
    vectors[2] = np.inf
    with pytest.raises(ArtifactError, match="holds NaN or infinity; build the index again"):
        build(tmp_path / "index", vectors).search(np.ones((1, 3), np.float32))


def test_damage_is_told(tmp_path):
    whole = build(tmp_path / "index", draw(0, 50, 8)).folder
    file = "vectors-0000/vectors.npy"

    def damaged(name, change):
        copy = tmp_path / name
        shutil.copytree(whole, copy)
        contents = (copy / file).read_bytes()
        (copy / file).write_bytes(change(contents))
        return copy

    open_flat_index(whole).verify()
    with pytest.raises(ArtifactError, match=r"vectors\.npy: 1727 bytes, not 1728"):
        open_flat_index(damaged("short", lambda contents: contents[:-1]))
    flipped = open_flat_index(damaged("flipped", lambda contents: contents[:-1] + bytes([contents[-1] ^ 1])))
    with pytest.raises(ArtifactError, match=r"vectors\.npy: missing or altered"):
        flipped.verify()
    gone = damaged("gone", lambda contents: contents)
    (gone / file).unlink()
    with pytest.raises(ArtifactError, match=r"vectors\.npy: missing"):
        open_flat_index(gone)


@pytest.mark.parametrize("change", [{"images": 49}, {"dimensions": "8"}, {"dtype": "float16"}, {"segments": [{}]}])
def test_a_manifest_that_misstates_is_refused(tmp_path, change):
    folder = build(tmp_path / "index", draw(0, 50, 8)).folder
    stored = read_json(folder / "manifest.json")
    stored["facts"].update(change)
    write_json(folder / "manifest.json", stored)
    with pytest.raises(ArtifactError, match="build the index again"):
        open_flat_index(folder)
