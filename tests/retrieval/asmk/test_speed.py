import numpy as np
import pytest

from lrcr.retrieval.asmk.speed import draw_queries, measure, read_lists

from .cases import build, draw_batch, draw_centroids, postings

HOW = {"alpha": 3.0, "tau": 0.0, "idf": False}


@pytest.fixture(params=[(True, False), (True, True), (False, False)], ids=["binary", "packed", "residuals"])
def index(request, tmp_path):
    binary, packed = request.param
    rng = np.random.default_rng(1)
    centroids = draw_centroids(rng, 40, 48)
    centroids[30:] += 1000  # words that nothing is near
    parts = [postings(part, centroids, binary=binary) for part in draw_batch(rng, centroids[:30], 200).parts]
    return build(tmp_path, parts, centroids, binary, packed, memory=2**14)


def test_drawn_queries_use_words_as_often_as_the_index_does(index):
    used = sum(np.diff(segment.lists.offsets) for segment in index.segments)
    queries = draw_queries(index, 400, 3, np.random.default_rng(2))
    assert (queries.count, queries.dim, queries.binary) == (400, 48, index.layout.binary)
    for query in range(400):
        words = queries.words[queries.offsets[query] : queries.offsets[query + 1]]
        assert len(set(words)) == 3
    drawn = np.bincount(queries.words, minlength=40)
    assert drawn[used == 0].sum() == 0
    assert np.corrcoef(drawn, used)[0, 1] > 0.8
    everything = draw_queries(index, 2, 99, np.random.default_rng(2))
    assert len(everything.words) == 2 * (used > 0).sum()


def test_measures_are_of_what_is_there(index):
    queries = draw_queries(index, 4, 10, np.random.default_rng(2))
    speed = measure(index, queries, **HOW, top=5)
    visited = sum(np.diff(segment.lists.offsets)[queries.words].sum() for segment in index.segments)
    assert speed.postings == visited / 4
    on_disk = sum(file.stat().st_size for file in index.folder.rglob("*.npy"))
    assert speed.bytes_per_posting == pytest.approx(on_disk / index.manifest.facts["postings"])
    assert speed.search_ns == pytest.approx(speed.batch_ms * 1e6 * 4 / visited)
    assert min(speed.open_ms, speed.query_ms, speed.batch_ms, speed.read_ns) > 0


def test_reading_reads_every_vector_and_id(index):
    queries = draw_queries(index, 3, 10, np.random.default_rng(2))
    for segment in index.segments:
        lists, sums = segment.lists, np.zeros(3, np.uint64)
        read_lists(queries.offsets, queries.words, lists, sums)
        for query in range(3):
            total = 0
            for word in queries.words[queries.offsets[query] : queries.offsets[query + 1]]:
                own = slice(lists.offsets[word], lists.offsets[word + 1])
                stored = slice(lists.starts[word], lists.starts[word + 1])
                ids = lists.packed[stored] if len(lists.packed) else lists.images[own]
                vectors = lists.codes if index.layout.binary else lists.residuals
                total += sum(map(int, ids)) + sum(map(int, vectors[own].ravel()))
            assert int(sums[query]) == total % 2**64
