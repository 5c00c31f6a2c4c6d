"""A sharded search against the search of the whole index: in this process by each kind of index, then in processes."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lrcr.config.retrieval import SearchParams
from lrcr.errors import ArtifactError, LostShardError, ParamsError
from lrcr.retrieval.photos import PhotoIndex
from lrcr.retrieval.searcher import Searcher
from lrcr.retrieval.sharded.searcher import ShardedSearcher
from lrcr.retrieval.sharded.shard import Shard, Source
from lrcr.retrieval.writer import open_writer

from ..living import KINDS, build_at_once, draw_all, make_source
from ..steps import small

IMAGES = {f"{letter}{number}": 7 * number + place for number in range(9) for place, letter in enumerate("zéa")}
REMOVED = ["a3", "z0", "z8", "é5"]
QUERIES = draw_all([3, 5, 11, *range(30, 55)])
"""More than 20: faiss computes their inner products in another way than those of fewer."""

SETTINGS = [SearchParams(), SearchParams(idf=True, multiple_assignment=3, tau=0.2)]


class Here:
    """A worker in this process, which a test can lose."""

    def __init__(self, source: Source) -> None:
        self.source, self.shard, self.lost = source, Shard(source), False

    def images(self):
        return self.shard.images()

    def ask(self, queries, top):
        self.asked = queries, top

    def answer(self):
        if self.lost:
            raise self.source.lost("the test took it away")
        return self.shard.rank(*self.asked)

    def close(self):
        self.lost = True


@pytest.fixture(scope="module", params=KINDS)
def index(request, tmp_path_factory) -> Path:
    """Of six segments, or one matrix, of which four images were removed; many images tie."""
    folder, kind = tmp_path_factory.mktemp("sharded"), request.param
    params = KINDS[kind].model_copy(update={"index": KINDS[kind].index.model_copy(update={"memory_gib": 1e-9})})
    built = build_at_once(folder / "index", make_source(folder / "source", kind), params, IMAGES, parts=6)
    with open_writer(built) as writer:
        writer.remove(REMOVED)
        writer.commit()
    return built


@pytest.fixture
def small_blocks(monkeypatch):
    """A matrix of vectors is searched in blocks of four images."""
    monkeypatch.setattr("lrcr.retrieval.flat.index._FLOATS_AT_ONCE", 16)


def assert_same(found, expected):
    np.testing.assert_array_equal(found.query, expected.query)
    np.testing.assert_array_equal(found.image, expected.image)
    np.testing.assert_array_equal(found.score.view(np.uint32), expected.score.view(np.uint32))


@pytest.mark.parametrize("shards", [2, 6])
def test_the_answer_is_that_of_the_whole_index_to_the_last_bit(index, small_blocks, shards):
    for settings in SETTINGS:
        whole, sharded = Searcher(index, settings), ShardedSearcher(index, settings, shards=shards, worker=Here)
        assert len(sharded._workers) == shards and sum(sharded._images) == len(IMAGES) - len(REMOVED)
        for top in (None, 1, 5, 100):
            assert_same(sharded.search(QUERIES, top), whole.search(QUERIES, top))
        assert len(np.unique(whole.search(QUERIES, 5).score)) < 5 * len(QUERIES), "no score is that of two images"


def test_every_image_is_in_one_shard_and_no_shard_is_empty(index, small_blocks):
    whole = Searcher(index).index
    for shards in range(1, 7):
        parts = [whole.shard(number, shards)[1] for number in range(shards)]
        assert min(map(len, parts)) > 0
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(whole.images))


@pytest.fixture(scope="module")
def segments(tmp_path_factory) -> Path:
    """An inverted file of four segments."""
    folder = tmp_path_factory.mktemp("segments")
    params = small("index.memory_gib=1e-9")
    return build_at_once(folder / "index", make_source(folder / "source", "binary"), params, IMAGES, parts=4)


def test_more_shards_than_segments_are_refused(segments):
    found = rf"^shards: 5, but {segments} has 4 segments; give 1 to 4$"
    with pytest.raises(ParamsError, match=found):
        ShardedSearcher(segments, shards=5, worker=Here)


def test_a_lost_shard_is_an_error_or_told_in_the_result(segments, caplog):
    searcher = ShardedSearcher(segments, shards=4, worker=Here)
    complete = searcher.search(QUERIES, 5)
    searcher._workers[1].lost = True
    with pytest.raises(LostShardError, match="shard 2 of 4 is lost: the test took it away; open the index again"):
        searcher.search(QUERIES, 5)
    searcher.partial = True
    found, (_, lost) = searcher.search(QUERIES, 5), searcher.index.shard(1, 4)
    assert complete.unsearched == 0 and found.unsearched == len(lost) == searcher._images[1]
    assert f"shard 2 of 4 is lost: the test took it away; open the index again ({len(lost)} of 27 images" in caplog.text
    whole = Searcher(segments).search(QUERIES)
    assert_same(found, whole.select(~np.isin(whole.image, lost)).cut(5))
    assert {result.unsearched for result in searcher.results(found)} == {len(lost)}
    for worker in searcher._workers:
        worker.lost = True
    with pytest.raises(LostShardError, match="shard 1 of 4"):
        searcher.search(QUERIES, 5)


def test_a_worker_refuses_another_state_of_the_index(segments):
    with pytest.raises(ArtifactError, match="index: another state than that of the other shards; open the index again"):
        Shard(Source(segments, "old", 0, 2, SearchParams(), 1))


def test_an_index_that_changes_while_it_is_opened_is_opened_again(segments, tmp_path):
    """The second worker finds the state that a writer has made after the first one opened."""
    source = make_source(tmp_path / "source", "binary")
    mine = build_at_once(tmp_path / "index", source, small("index.memory_gib=1e-9"), IMAGES, parts=4)
    made = []

    def worker(source: Source) -> Here:
        made.append(source)
        if len(made) == 2:
            with open_writer(mine) as writer:
                writer.remove(REMOVED)
                writer.commit()
        return Here(source)

    assert_same(ShardedSearcher(mine, worker=worker).search(QUERIES), Searcher(mine).search(QUERIES))
    assert len(made) == 4 and made[0].state != made[2].state


def test_processes_answer_and_their_end_is_noticed(segments):
    """One pair of processes for everything that needs some."""
    with ShardedSearcher(segments, SETTINGS[1], shards=2, threads=1) as searcher:
        whole = Searcher(segments, SETTINGS[1])
        assert_same(searcher.search(QUERIES, 7), whole.search(QUERIES, 7))
        prepared = searcher.index.prepare(QUERIES)
        for top in (2, 1):
            searcher._workers[0].ask(prepared, top)
        assert len(searcher._workers[0].answer()) == len(QUERIES), "the answer to the first question is dropped"
        searcher._workers[0].ask(replace(prepared, dim=7), 1)
        with pytest.raises(ArtifactError, match="postings of D = 7"):
            searcher._workers[0].answer()
        killed = searcher._workers[1]._process
        os.kill(killed.pid, signal.SIGKILL)
        with pytest.raises(LostShardError, match=r"2 of 2 is lost: its process was killed by SIGKILL \(by a user"):
            searcher.search(QUERIES)
        searcher.partial = True
        assert searcher.search(QUERIES).unsearched == searcher._images[1] > 0
        alive = searcher._workers[0]._process
    assert not alive.is_alive() and alive.exitcode == 0


def test_an_index_of_photos_is_searched_by_shards_if_there_are_several(segments, monkeypatch):
    monkeypatch.setattr("lrcr.retrieval.photos.ShardedSearcher", lambda *given, **named: (*given, named))
    opened = PhotoIndex(segments, shards=3, allow_partial=True)
    assert opened.searcher == (segments, None, (), (), {"shards": 3, "partial": True})
    assert type(PhotoIndex(segments).searcher) is Searcher
