"""The local descriptors that an index owns."""

from pathlib import Path

import numpy as np
import pytest

from lrcr.config.reading import load_params
from lrcr.data.dataset import open_dataset
from lrcr.errors import ArtifactError, ParamsError
from lrcr.features.store import Descriptors, open_descriptors
from lrcr.retrieval.collection import add_photos, remove_photos
from lrcr.retrieval.local_encoder import LocalEncoder
from lrcr.retrieval.photos import PhotoIndex
from lrcr.retrieval.rerank.reranker import rerank_in_steps
from lrcr.retrieval.searcher import Searcher

from .steps import make_index, small


@pytest.fixture
def index(tmp_path, words, landmarks):
    make_index(words, small("index.local_descriptors=float16"), landmarks, tmp_path / "index")
    return tmp_path / "index"


def test_an_index_owns_the_descriptors_of_its_images(index, words):
    store = open_descriptors(words / "descriptors/database").read()
    local = Searcher(index).local
    assert len(local) == 16
    for image in range(16):
        found, rows = local.of_image(image), slice(store.offsets[image], store.offsets[image + 1])
        unit = store.descriptors[rows] / np.linalg.norm(store.descriptors[rows], axis=1, keepdims=True)
        np.testing.assert_allclose(found.descriptors, unit, atol=1e-3)
        np.testing.assert_array_equal(found.xy, store.xy[rows])
        np.testing.assert_array_equal(found.descriptors, local.of_query(store, image).descriptors)


def test_its_size_is_told(index, words):
    searcher = Searcher(index)
    rows = int(open_descriptors(words / "descriptors/database").manifest.facts["descriptors"])
    size = rows * (2 * 8 + 8) + 17 * 8 + 3 * 128
    assert searcher.local.bytes_per_image == size / 16
    assert searcher.summary == f"{searcher.index.summary}, and {size / 16:.0f} bytes of local descriptors"
    searcher.verify()


def test_by_default_it_owns_none(words):
    searcher = Searcher(words / "index")
    assert searcher.local is None and searcher.summary == searcher.index.summary


def test_damage_is_found(index):
    searcher = Searcher(index)
    file = index / "local-0000/descriptors.npy"
    contents = bytearray(file.read_bytes())
    contents[-1] ^= 1
    file.write_bytes(contents)
    with pytest.raises(ArtifactError, match=r"descriptors\.npy: missing or altered since it was made"):
        searcher.verify()
    file.write_bytes(contents[:-1])
    with pytest.raises(ArtifactError, match=r"descriptors\.npy: \d+ bytes, not \d+ bytes; build the index again"):
        Searcher(index)
    file.unlink()
    with pytest.raises(ArtifactError, match=r"descriptors\.npy: missing"):
        Searcher(index)


def test_its_images_can_be_changed(index, tmp_path):
    before = Searcher(index)
    names, files = before.images["name"].tolist(), before.images["path"].tolist()
    remove_photos(index, names[:2])
    assert len(Searcher(index).local) == 14
    add_photos(index, [Path(file) for file in files[1::-1]])
    after = Searcher(index)
    assert after.images["name"].tolist() == sorted(names)
    for image, name in enumerate(sorted(names)):
        found, expected = after.local.of_image(image), before.local.of_image(names.index(name))
        np.testing.assert_allclose(found.descriptors, expected.descriptors, atol=2e-3)
        np.testing.assert_array_equal(found.xy, expected.xy)
    after.verify()


def test_a_model_of_one_vector_has_none_to_own():
    with pytest.raises(ParamsError, match=r"index\.local_descriptors: gem has none; leave it out"):
        load_params(overrides=["model.name=gem", "index.local_descriptors=float16"])


def test_descriptors_that_are_not_stored_cannot_be_owned():
    with pytest.raises(ParamsError, match=r"index\.local_descriptors: needs extract\.store_descriptors: true"):
        load_params(overrides=["index.local_descriptors=float16", "extract.store_descriptors=false"])


def test_geometric_reranking_needs_them(words):
    params = load_params(overrides=["rerank=[{kind: geometric}]"])
    with pytest.raises(ParamsError) as error:
        Searcher(words / "index", rerank=params.rerank)
    said = "rerank: geometric needs local descriptors, which the index does not own; build it with "
    assert str(error.value) == f"{said}index.local_descriptors: float16 or codes"


def test_the_first_results_are_verified(index, words):
    pytest.importorskip("cv2")
    params = load_params(overrides=["rerank=[{kind: geometric, top: 5, exponent: null}]"])
    searcher = Searcher(index, rerank=params.rerank)
    queries = open_descriptors(words / "descriptors/database").read()
    first = searcher.search(queries)
    found = rerank_in_steps(searcher.steps, queries, first)
    assert sum(found.of_query(query)[1][0] > 4 for query in range(16)) > 8
    for query in range(16):
        images, scores = found.of_query(query)
        assert scores[0] < np.diff(queries.offsets)[query] + 2
        assert set(images[:5]) == set(first.of_query(query)[0][:5])


def test_a_hit_is_verified_by_what_the_index_owns(index, landmarks, words):
    pytest.importorskip("cv2")
    rerank = load_params(overrides=["rerank=[{kind: geometric, tolerance: 0.2}]"]).rerank
    photos, photo = PhotoIndex(index, rerank=rerank), open_dataset(landmarks).photo(7)
    [itself, *_] = [hit for hit in photos.search(photo.path, top=16) if hit.path == photo.path]
    found, local = photos.verify(itself), photos.searcher.local
    rows, others = photos.searcher.steps[0].verify(local.of_query(itself.query, 0), local.of_image(7))
    assert [(int(m.query[0]), int(m.image[0])) for m in found.matches] == list(zip(rows, others, strict=True))
    assert len(rows) > 10
    np.testing.assert_allclose(found.locations[:, :2], found.locations[:, 2:], atol=1e-3)
    assert photos.searcher.verifier.params == rerank[0]
    assert PhotoIndex(index).searcher.verifier.params.tolerance == 0.05, "the default"
    plain = PhotoIndex(words / "index")
    assert photos.verifies and not plain.verifies
    said = r"index: owns no local descriptors to verify with; build it with index\.local_descriptors: float16 or codes$"
    with pytest.raises(ArtifactError, match=said):
        plain.verify(itself)


def test_descriptors_of_regions_are_not_owned():
    image = {"descriptors": np.eye(3, 8), "strength": np.ones(3), "xy": np.zeros((3, 2)), "scale": np.ones(3)}
    images = Descriptors(
        **{name: values.astype(np.float32) for name, values in image.items()},
        offsets=np.array([0, 3]),
        region=np.array([0, 1, 0], np.int32),
        region_counts=np.array([2], np.int32),
    )
    part = LocalEncoder().part(images)
    assert part.offsets.tolist() == [0, 2]
    np.testing.assert_array_equal(part.descriptors, np.eye(3, 8)[[0, 2]])
