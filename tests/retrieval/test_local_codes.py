"""Indexes that own the local descriptors of their images as codes."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lrcr.config.reading import load_params
from lrcr.data.dataset import open_dataset
from lrcr.errors import ArtifactError
from lrcr.features.store import open_descriptors
from lrcr.retrieval.asmk.codebook import open_codebook
from lrcr.retrieval.backend import backend_of
from lrcr.retrieval.collection import add_photos, remove_photos
from lrcr.retrieval.exporting import features_of_index
from lrcr.retrieval.groups import find_groups
from lrcr.retrieval.local import open_local
from lrcr.retrieval.local_encoder import LocalEncoder, local_encoder
from lrcr.retrieval.photos import PhotoIndex
from lrcr.retrieval.searcher import Searcher

from .living import KINDS, build_at_once, draw_all, make_source
from .steps import make_index, small, small_global


@pytest.fixture(scope="module")
def index(tmp_path_factory, words, landmarks):
    folder = tmp_path_factory.mktemp("coded") / "index"
    make_index(words, small("index.local_descriptors=codes"), landmarks, folder)
    return folder


def test_a_code_has_the_signs_of_the_descriptor_minus_the_mean_of_the_words(index, words):
    store, local = open_descriptors(words / "descriptors/database").read(), Searcher(index).local
    centroids = open_codebook(words / "codebook")[0].centroids.astype(np.float64)
    mean = (sum(centroids) / len(centroids)).astype(np.float32)
    for image in range(16):
        rows = slice(store.offsets[image], store.offsets[image + 1])
        codes = [sum(int(bit) << d for d, bit in enumerate(row > mean)) for row in store.descriptors[rows]]
        found = local.of_image(image)
        assert found.descriptors.dtype == np.uint64 and found.descriptors[:, 0].tolist() == codes
        np.testing.assert_array_equal(found.xy, store.xy[rows])
        np.testing.assert_array_equal(local.of_query(store, image).descriptors, found.descriptors)
    assert len(set(codes)) > 5


def test_a_descriptor_takes_a_sixteenth_of_float16(index, words):
    searcher = Searcher(index)
    rows = int(open_descriptors(words / "descriptors/database").manifest.facts["descriptors"])
    assert searcher.local.bytes_per_image == (rows * (8 + 8) + 17 * 8 + 3 * 128) / 16
    assert "bytes of local descriptors" in searcher.summary
    assert [LocalEncoder(mean).columns(128) * size for mean, size in ((None, 2), (np.zeros(1), 8))] == [256, 16]
    searcher.verify()


@pytest.mark.parametrize("dim", [8, 64, 100])
def test_bits_beyond_the_dimensions_are_not_set(dim):
    drawn = replace(draw_all([3]), descriptors=np.ones((len(draw_all([3]).xy), dim), np.float32))
    part = LocalEncoder(np.zeros(1, np.float32)).part(drawn)
    assert part.dim == dim and part.descriptors.shape == (len(drawn.xy), -(-dim // 64))
    assert [sum(int(word).bit_count() for word in row) for row in part.descriptors] == [dim] * len(drawn.xy)


def test_without_words_the_mean_is_zero(tmp_path):
    params = small_global("delg", "index.local_descriptors=codes")
    encoder = local_encoder(params, backend_of(params, tmp_path))
    assert encoder.mean.tolist() == [0]


def test_damage_is_found(tmp_path):
    source = make_source(tmp_path / "source", "codes")
    index = build_at_once(tmp_path / "index", source, KINDS["codes"], {"a": 1, "b": 3, "c": 5})
    searcher, file = Searcher(index), index / "local-0000/descriptors.npy"
    contents = file.read_bytes()
    entries = searcher.index.manifest.facts["local"]
    with pytest.raises(ArtifactError, match=r"^.*descriptors\.npy: uint64 of shape \(\d+, 1\), not float16 of .*$"):
        open_local(index, entries, LocalEncoder())
    file.write_bytes(contents[:-1] + bytes([contents[-1] ^ 1]))
    with pytest.raises(ArtifactError, match=r"descriptors\.npy: missing or altered since it was made; build the index"):
        searcher.verify()
    file.write_bytes(contents[:-8])
    with pytest.raises(ArtifactError, match=r"^.*descriptors\.npy: \d+ bytes, not \d+ bytes; build the index again$"):
        Searcher(index)


def test_photos_that_are_described_again_have_the_same_codes(index, tmp_path):
    """But for bits of components near the mean: in another batch the model describes a photo slightly differently."""
    changed = Path(shutil.copytree(index, tmp_path / "changed"))
    before = Searcher(changed)
    names, files = before.images["name"].tolist(), before.images["path"].tolist()
    remove_photos(changed, names[:2])
    add_photos(changed, [Path(file) for file in files[:2]])
    after = Searcher(changed)
    for image, name in enumerate(after.images["name"]):
        found, expected = after.local.of_image(image), before.local.of_image(names.index(name))
        differing = sum(int(bits).bit_count() for bits in (found.descriptors ^ expected.descriptors).flat)
        assert differing <= 2 and len(found.descriptors) > 10
        np.testing.assert_array_equal(found.xy, expected.xy)
    after.verify()


def test_codes_cannot_be_exported(index):
    with pytest.raises(ArtifactError, match=r"index: holds no descriptors, only their codes; build it with index\.loc"):
        next(features_of_index(Searcher(index)))


def test_a_hit_is_verified_by_codes(index, landmarks):
    pytest.importorskip("cv2")
    rerank = load_params(overrides=["rerank=[{kind: geometric, tolerance: 0.2}, {kind: words, images: 3}]"]).rerank
    photos, photo = PhotoIndex(index, rerank=rerank), open_dataset(landmarks).photo(7)
    [itself, *_] = [hit for hit in photos.search(photo.path, top=16) if hit.path == photo.path]
    found, local = photos.verify(itself), photos.searcher.local
    rows, others = photos.searcher.verifier.verify(local.of_query(itself.query, 0), local.of_image(7))
    assert [(int(m.query[0]), int(m.image[0])) for m in found.matches] == list(zip(rows, others, strict=True))
    assert len(rows) > 5
    np.testing.assert_array_equal(found.hit, local.of_image(7).xy)


def test_the_geometry_of_groups_is_checked_by_codes(index):
    pytest.importorskip("cv2")
    searcher = Searcher(index)
    few, all_ = (find_groups(searcher, "cluster", min_score=0.0, min_inliers=least) for least in (6, 1))
    assert 0 < len(few) <= len(all_)
