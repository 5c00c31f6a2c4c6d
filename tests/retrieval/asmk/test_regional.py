"""Regional aggregation against the published definition, written down once more, and against plain aggregation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.errors import ArtifactError
from lrcr.features.store import Descriptors
from lrcr.retrieval.asmk.aggregation import aggregate
from lrcr.retrieval.asmk.codebook import Codebook
from lrcr.retrieval.asmk.explain import Side, explain
from lrcr.retrieval.asmk.images import aggregate_images
from lrcr.retrieval.asmk.once import search_once
from lrcr.retrieval.asmk.regional import aggregate_regions, regional_residuals

from .cases import draw_batch, draw_centroids


def draw_regions(rng, centroids, images, most=4) -> Descriptors:
    """Images of 1 to `most` regions, of which any may be empty."""
    batch = draw_batch(rng, centroids, images, most=25)
    counts = rng.integers(1, most + 1, images).astype(np.int32)
    sizes = np.diff(batch.offsets)
    region = [np.sort(rng.integers(0, count, size)) for count, size in zip(counts, sizes, strict=True)]
    ones = np.ones(len(batch.descriptors), np.float32)
    numbers = np.concatenate([np.empty(0, np.int64), *region]).astype(np.int32)
    return Descriptors(
        batch.descriptors, ones, np.ones((len(ones), 2), np.float32), ones, batch.offsets, numbers, counts
    )


def by_definition(images, words, centroids):
    """For each image a dict from word to the unit vector of its part."""
    found = []
    for image in range(len(images)):
        total = np.zeros(centroids.shape)
        for region in range(images.region_counts[image]):
            sums = np.zeros(centroids.shape)
            for row in range(images.offsets[image], images.offsets[image + 1]):
                if images.region[row] == region:
                    for word in words[row]:
                        sums[word] += images.descriptors[row].astype(float) - centroids[word].astype(float)
            norm = np.sqrt((sums**2).sum())
            total += (sums / norm if norm else sums) / images.region_counts[image]
        norms = np.linalg.norm(total, axis=1)
        found.append({word: total[word] / norms[word] for word in np.flatnonzero(norms >= 1e-6)})
    return found


def unpack(codes, dim):
    return np.unpackbits(codes.view(np.uint8), axis=1, bitorder="little")[:, :dim].astype(bool)


def test_the_reference(fixtures):
    with np.load(fixtures / "regional_asmk.npz") as file:
        numbers = {name: file[name] for name in file.files}
    centroids, descriptors = numbers["centroids"], numbers["descriptors"]
    counts = numbers["per_region"]
    assert 0 in counts
    region = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    words = Codebook(centroids).assign(descriptors, 1)
    found, residuals = regional_residuals(descriptors, words, region, len(counts), centroids)
    np.testing.assert_array_equal(found, numbers["words"])
    np.testing.assert_allclose(residuals, numbers["residuals"], rtol=0, atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    dim=st.sampled_from([1, 31, 64, 100, 128]),
    words=st.integers(1, 9),
    images=st.integers(0, 4),
    assignment=st.integers(1, 3),
)
def test_it_is_the_definition(seed, dim, words, images, assignment):
    rng = np.random.default_rng(seed)
    centroids = draw_centroids(rng, words, dim)
    batch = draw_regions(rng, centroids, images)
    assigned = Codebook(centroids).assign(batch.descriptors, assignment)
    truth = by_definition(batch, assigned, centroids)
    keys = [(image, word) for image, vectors in enumerate(truth) for word in vectors]
    expected = np.array([truth[image][word] for image, word in keys]).reshape(-1, dim)
    codebook = Codebook(centroids)
    floats, codes = (aggregate_images(batch, codebook, assignment, binary=binary) for binary in (False, True))
    for found in (floats, codes):
        assert list(zip(found.images, found.words, strict=True)) == keys
        assert (found.count, found.dim, found.assigned) == (images, dim, assigned.size)
        assert (found.words.dtype, found.images.dtype) == (np.int32, np.uint32)
    assert floats.vectors.dtype == np.float16 and codes.vectors.dtype == np.uint64
    np.testing.assert_allclose(floats.vectors, expected, atol=5e-4)
    clear = np.abs(expected) > 1e-12  # sums that cancel out may round to either side
    np.testing.assert_array_equal(unpack(codes.vectors, dim)[clear], (expected > 0)[clear])


@pytest.mark.parametrize("binary", [True, False])
def test_a_single_whole_image_is_aggregated_as_without_regions(binary):
    rng = np.random.default_rng(0)
    centroids = draw_centroids(rng, 20, 100)
    batch = draw_batch(rng, centroids, 6, most=60)
    words = Codebook(centroids).assign(batch.descriptors, 2)
    plain = aggregate(batch.descriptors, words, batch.offsets, centroids, binary=binary)
    region, counts = np.zeros(len(words), np.int32), np.ones(6, np.int32)
    found = aggregate_regions(batch.descriptors, words, batch.offsets, region, counts, centroids, binary=binary)
    moved = np.isin(np.arange(len(plain.words)), _postings_with_a_residual(plain, batch, words, centroids))
    np.testing.assert_array_equal(found.words, plain.words[moved])
    np.testing.assert_array_equal(found.images, plain.images[moved])
    if binary:
        np.testing.assert_array_equal(found.vectors, plain.vectors[moved])
    else:
        np.testing.assert_allclose(found.vectors, plain.vectors[moved], atol=1e-3)


def _postings_with_a_residual(plain, batch, words, centroids):
    floats = aggregate(batch.descriptors, words, batch.offsets, centroids, binary=False)
    assert plain.words.tolist() == floats.words.tolist()
    return np.flatnonzero(floats.vectors.any(axis=1))


def test_the_parts_of_a_region_weigh_as_much_as_those_of_a_larger_one():
    """A region of one descriptor turns the sign where the sum over all rows would not."""
    centroids = np.zeros((1, 2), np.float32)
    descriptors = np.array([[1, 0], [1, 0], [1, 1], [-4, 1]], np.float32)
    words, offsets = np.zeros((4, 1), np.int32), np.array([0, 4])
    region, counts = np.array([0, 0, 0, 1], np.int32), np.array([2], np.int32)
    found = aggregate_regions(descriptors, words, offsets, region, counts, centroids, binary=False)
    total = np.array([3, 1]) / np.sqrt(10) + np.array([-4, 1]) / np.sqrt(17)
    np.testing.assert_allclose(found.vectors[0], total / np.linalg.norm(total), atol=1e-3)


def test_words_whose_parts_cancel_out_have_no_posting():
    centroids = np.array([[0, 0], [9, 9]], np.float32)
    descriptors = np.array([[1, 0], [-1, 0], [9, 8]], np.float32)
    words = np.array([[0], [0], [1]], np.int32)
    region = np.zeros(3, np.int32)
    found = aggregate_regions(
        descriptors, words, np.array([0, 3]), region, np.ones(1, np.int32), centroids, binary=True
    )
    assert found.words.tolist() == [1]


@pytest.mark.parametrize("binary", [True, False])
def test_the_matches_of_an_image_with_regions_add_up_to_its_score(binary):
    rng = np.random.default_rng(3)
    centroids = draw_centroids(rng, 8, 64)
    codebook, database = Codebook(centroids), draw_regions(rng, centroids, 5)
    query = draw_regions(rng, centroids, 1).whole_images()
    postings = aggregate_images(database, codebook, 1, binary=binary)
    prepared = aggregate_images(query, codebook, 3, binary=binary)
    ranking = search_once(postings, prepared, 8, tau=0.1)
    for image, score in zip(*ranking.of_query(0), strict=True):
        sides = Side(query, 3), Side(database.take([int(image)]), 1)
        matches = explain(*sides, codebook, np.ones(8), alpha=3.0, tau=0.1, binary=binary)
        assert sum(match.contribution for match in matches) == pytest.approx(float(score), rel=1e-5, abs=1e-6)


def test_arrays_that_contradict_each_other_are_refused():
    arrays = (np.zeros((4, 3), np.float32), np.full((4, 1), 5, np.int32), np.array([0, 4]))
    regions = (np.zeros(4, np.int32), np.ones(1, np.int32))
    with pytest.raises(ArtifactError, match=r"word 5 is not in the codebook \(0…4\); assign them again"):
        aggregate_regions(*arrays, *regions, np.zeros((5, 3), np.float32), binary=True)
