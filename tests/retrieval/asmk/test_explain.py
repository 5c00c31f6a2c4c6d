import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrcr.features.store import Descriptors
from lrcr.retrieval.asmk.codebook import Codebook
from lrcr.retrieval.asmk.explain import Side, explain

from . import oracle
from .cases import draw_batch, draw_centroids


def of_one_image(batch) -> Descriptors:
    ones = np.ones(len(batch.descriptors), np.float32)
    return Descriptors(batch.descriptors, ones, np.stack([ones, ones], axis=1), ones, batch.offsets)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    dim=st.sampled_from([31, 64, 200]),
    words=st.integers(1, 9),
    assignments=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    tau=st.sampled_from([0.0, 0.3]),
    idf=st.booleans(),
    binary=st.booleans(),
)
def test_contributions_add_up_to_the_score(seed, dim, words, assignments, tau, idf, binary):
    rng = np.random.default_rng(seed)
    centroids = draw_centroids(rng, words, dim)
    codebook = Codebook(centroids)
    weights = rng.random(words) if idf else np.ones(words)
    sides = [Side(of_one_image(draw_batch(rng, centroids, 1, most=20)), assignment) for assignment in assignments]
    matches = explain(*sides, codebook, weights, alpha=3.0, tau=tau, binary=binary)
    assigned = [codebook.assign(side.image.descriptors, side.assignment) for side in sides]
    query, image = (
        oracle.aggregate(side.image.descriptors, own, [0, len(own)], centroids, binary=binary)[0]
        for side, own in zip(sides, assigned, strict=True)
    )
    norm = np.sqrt(sum(weights[w] for w in query)) * np.sqrt(sum(weights[w] for w in image))
    expected = {
        w: weights[w] * oracle.similarity(query[w], image[w], 3.0, tau) / norm for w in query.keys() & image.keys()
    }
    found = {m.word: m.contribution for m in matches}
    # float16 residuals: a similarity is off by some 1e-4, so one near zero may even change its sign
    tolerance = {"rel": 1e-6, "abs": 1e-9} if binary else {"rel": 1e-4, "abs": 1e-4}
    for word in found.keys() | expected.keys():
        if not binary and abs(oracle.similarity(query[word], image[word], 1.0, 0.0) - tau) < 1e-3:
            continue  # on which side of the threshold it falls is float16's affair
        assert found.get(word, 0.0) == pytest.approx(max(expected[word], 0.0), **tolerance)
    assert min(found.values(), default=1.0) > 0
    assert sorted(-m.contribution for m in matches) == [-m.contribution for m in matches]
    for match in matches:
        for rows, own in zip((match.query, match.image), assigned, strict=True):
            assert rows.tolist() == [row for row in range(len(own)) if match.word in own[row]]
