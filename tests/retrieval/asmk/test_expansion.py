"""Expanded postings against one word after the other."""

import numpy as np
import pytest

from lrcr.retrieval.asmk.aggregation import Aggregated, aggregate
from lrcr.retrieval.asmk.expansion import expand_postings

WORDS, DIM = 12, 70


def draw(seed: int, rows: list[int], *, binary: bool) -> Aggregated:
    """Images of some descriptors each."""
    rng = np.random.default_rng(seed)
    offsets = np.cumsum([0, *rows])
    words = rng.integers(0, WORDS, (offsets[-1], 1)).astype(np.int32)
    centroids = np.random.default_rng(9).normal(size=(WORDS, DIM)).astype(np.float32)
    return aggregate(rng.normal(size=(offsets[-1], DIM)), words, offsets, centroids, binary=binary)


def directions(part: Aggregated, image: int) -> dict[int, list[float]]:
    """Word → its vector, of one image."""
    found = {}
    for row in range(part.offsets[image], part.offsets[image + 1]):
        vector = part.vectors[row]
        if part.binary:
            vector = [1.0 if int(vector[d // 64]) >> (d % 64) & 1 else -1.0 for d in range(DIM)]
        found[int(part.words[row])] = [float(value) for value in vector]
    return found


def expand_slowly(query: Aggregated, images: Aggregated, agreeing: int) -> dict[int, list[float]]:
    own, others = directions(query, 0), [directions(images, image) for image in range(images.count)]
    expanded = {}
    for word in range(WORDS):
        having = [image[word] for image in others if word in image]
        if word in own or len(having) >= agreeing:
            weighed = [*having, *([[1.5 * value for value in own[word]]] if word in own else [])]
            sums = [sum(values) for values in zip(*weighed, strict=True)]
            length = sum(value**2 for value in sums) ** 0.5
            expanded[word] = (
                [1.0 if value > 0 else -1.0 for value in sums] if query.binary else [v / length for v in sums]
            )
    return expanded


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("agreeing", [1, 2, 3])
def test_vectors_are_summed_word_by_word(binary, agreeing):
    query, images = draw(0, [5], binary=binary), draw(1, [6, 0, 9, 7], binary=binary)
    found, expected = expand_postings(query, images, agreeing), expand_slowly(query, images, agreeing)
    assert found.words.tolist() == sorted(expected)
    assert (found.count, found.dim, found.vectors.dtype) == (1, DIM, query.vectors.dtype)
    for word, vector in directions(found, 0).items():
        np.testing.assert_allclose(vector, expected[word], atol=1e-3)
    assert set(query.words) < set(found.words) or agreeing > 1


@pytest.mark.parametrize("binary", [True, False])
def test_without_images_the_query_stays(binary):
    query = draw(0, [5], binary=binary)
    found = expand_postings(query, draw(1, [0], binary=binary), 1)
    np.testing.assert_array_equal(found.words, query.words)
    np.testing.assert_allclose(found.vectors.astype(float), query.vectors.astype(float), rtol=1e-3, atol=1e-3)


def test_the_query_decides_where_as_many_bits_are_set_as_not():
    query, other = draw(0, [1], binary=True), draw(1, [1], binary=True)
    other = Aggregated(query.words, other.images, other.vectors, 1, DIM)
    np.testing.assert_array_equal(expand_postings(query, other, 1).vectors, query.vectors)
