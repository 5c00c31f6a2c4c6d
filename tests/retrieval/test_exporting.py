"""What an index or a store of descriptors holds of its images, beside the arrays in their files."""

from dataclasses import replace

import numpy as np
import pytest

from lrcr.data.dataset import open_dataset
from lrcr.errors import ArtifactError
from lrcr.features.store import open_descriptors
from lrcr.retrieval.exporting import features_of_index, features_of_store
from lrcr.retrieval.searcher import Searcher

from .steps import make_index, small


def test_an_extracted_database_is_given_as_it_is_stored(words, landmarks):
    dataset = open_dataset(landmarks)
    found = list(features_of_store(words / "descriptors/database", dataset))
    store = open_descriptors(words / "descriptors/database").read()
    assert [image.name for image in found] == dataset.images["path"].tolist()
    assert {(image.width, image.height) for image in found} == {(48, 36)}
    for number, image in enumerate(found):
        own = store.take([number])
        for name in ("descriptors", "xy", "strength", "scale"):
            np.testing.assert_array_equal(image.arrays[name], getattr(own, name))


def test_what_is_not_the_database_of_the_dataset_is_refused(words, landmarks):
    dataset = open_dataset(landmarks)
    for folder, of in (("queries", dataset), ("database", replace(dataset, fingerprint="another"))):
        with pytest.raises(ArtifactError, match=r"not the database of the dataset landmarks; name the one of this dat"):
            next(features_of_store(words / "descriptors" / folder, of))


def test_an_index_of_vectors_gives_them(gem):
    searcher = Searcher(gem / "index")
    found = list(features_of_index(searcher))
    assert [image.name for image in found] == searcher.images["name"].tolist()
    vectors = searcher.index.vectors()
    np.testing.assert_array_equal([image.arrays["vector"] for image in found], vectors)


def test_an_index_that_owns_local_descriptors_gives_them(words, landmarks, tmp_path):
    make_index(words, small("index.local_descriptors=float16"), landmarks, tmp_path / "index")
    searcher = Searcher(tmp_path / "index")
    found = list(features_of_index(searcher))
    assert [image.name for image in found] == searcher.images["name"].tolist()
    for number, image in enumerate(found):
        own = searcher.local.of_image(number)
        np.testing.assert_array_equal(image.arrays["descriptors"], own.descriptors)
        np.testing.assert_array_equal(image.arrays["xy"], own.xy)


def test_an_index_of_postings_has_no_descriptors(words):
    with pytest.raises(ArtifactError, match=r"index: holds no descriptors, only their visual words; build it with ind"):
        next(features_of_index(Searcher(words / "index")))
