import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.errors import ArtifactError
from lrcr.retrieval.asmk.aggregation import aggregate
from lrcr.retrieval.asmk.codebook import Codebook

from . import oracle
from .cases import DIMS, draw_batch, draw_centroids


def unpack(codes, dim):
    bits = [(codes[:, d // 64] >> np.uint64(d % 64)) & np.uint64(1) for d in range(64 * codes.shape[1])]
    bits = np.array(bits, dtype=bool).T
    assert not bits[:, dim:].any(), "bits beyond D must stay clear"
    return bits[:, :dim]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    dim=st.sampled_from(DIMS),
    words=st.integers(1, 9),
    images=st.integers(0, 5),
    assignment=st.integers(1, 3),
    binary=st.booleans(),
)
def test_it_is_what_the_oracle_says(seed, dim, words, images, assignment, binary):
    rng = np.random.default_rng(seed)
    centroids = draw_centroids(rng, words, dim)
    batch = draw_batch(rng, centroids, images)
    assigned = Codebook(centroids).assign(batch.descriptors, assignment)
    found = aggregate(batch.descriptors, assigned, batch.offsets, centroids, binary=binary)
    truth = oracle.aggregate(batch.descriptors, assigned, batch.offsets, centroids, binary=binary)
    keys = [(image, word) for image, vectors in enumerate(truth) for word in sorted(vectors)]
    assert list(zip(found.images, found.words, strict=True)) == keys
    assert (found.count, found.dim, found.binary) == (images, dim, binary)
    assert (found.words.dtype, found.images.dtype) == (np.int32, np.uint32)
    np.testing.assert_array_equal(found.offsets, np.append(0, np.cumsum([len(vectors) for vectors in truth])))
    expected = np.array([truth[image][word] for image, word in keys]).reshape(-1, dim)
    if binary:
        np.testing.assert_array_equal(unpack(found.vectors, dim), expected)
    else:
        assert found.vectors.dtype == np.float16
        np.testing.assert_allclose(found.vectors, expected, atol=5e-4)


def test_a_bit_is_set_where_the_residual_is_above_zero():
    centroids = np.ones((1, 70), np.float32)
    descriptor = np.ones((1, 70), np.float32)
    descriptor[0, [0, 63, 69]] = 2.0  # the others stay exactly zero, save one below
    descriptor[0, 5] = 0.0
    found = aggregate(descriptor, np.zeros((1, 1), np.int32), np.array([0, 1]), centroids, binary=True)
    assert found.vectors.tolist() == [[1 | 1 << 63, 1 << 5]]


def test_a_residual_of_zero_stays_zero():
    centroids = np.ones((1, 3), np.float32)
    found = aggregate(centroids, np.zeros((1, 1), np.int32), np.array([0, 1]), centroids, binary=False)
    assert found.vectors.tolist() == [[0, 0, 0]]


def test_halves_are_summed_as_the_floats_they_are():
    rng = np.random.default_rng(0)
    centroids = draw_centroids(rng, 3, 40)
    halves = rng.normal(size=(30, 40)).astype(np.float16)
    words, offsets = rng.integers(0, 3, (30, 1)).astype(np.int32), np.array([0, 10, 30])
    narrow = aggregate(halves, words, offsets, centroids, binary=False)
    wide = aggregate(halves.astype(np.float32), words, offsets, centroids, binary=False)
    np.testing.assert_array_equal(narrow.vectors, wide.vectors)


def test_the_number_of_threads_changes_nothing(threads):
    rng = np.random.default_rng(0)
    centroids = draw_centroids(rng, 50, 48)
    batch = draw_batch(rng, centroids, 40, most=60)
    words = Codebook(centroids).assign(batch.descriptors, 2)
    one = aggregate(batch.descriptors, words, batch.offsets, centroids, binary=False)
    with threads(2):
        two = aggregate(batch.descriptors, words, batch.offsets, centroids, binary=False)
    np.testing.assert_array_equal(one.vectors, two.vectors)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"descriptors": np.zeros((4, 2), np.float32)},
            r"descriptors of shape \(4, 2\), not \(N, 3\); extract them again",
        ),
        ({"words": np.zeros((3, 1), np.int32)}, r"words of shape \(3, 1\) for 4 descriptors; assign them again"),
        ({"words": np.zeros(4, np.int32)}, r"words of shape \(4,\) for 4 descriptors"),
        ({"words": np.full((4, 1), 5, np.int32)}, r"word 5 is not in the codebook \(0…4\); assign them again"),
        ({"words": np.full((4, 1), -1, np.int32)}, r"word -1 is not in the codebook"),
        ({"offsets": np.array([0, 3])}, "offsets do not rise from 0 to the 4 descriptors"),
        ({"offsets": np.array([1, 4])}, "offsets do not rise"),
        ({"offsets": np.array([0, 3, 2, 4])}, "offsets do not rise"),
        ({"offsets": np.array([], np.int64)}, "offsets do not rise"),
    ],
)
def test_arrays_that_contradict_each_other_are_refused(changed, message):
    arrays = {
        "descriptors": np.zeros((4, 3), np.float32),
        "words": np.zeros((4, 1), np.int32),
        "offsets": np.array([0, 4]),
        "centroids": np.zeros((5, 3), np.float32),
    }
    with pytest.raises(ArtifactError, match=message):
        aggregate(**{**arrays, **changed}, binary=True)
