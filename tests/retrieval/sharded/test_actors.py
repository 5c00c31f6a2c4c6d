"""A sharded search by actors of Ray."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lrcr.config.retrieval import SearchParams
from lrcr.errors import ArtifactError, LostShardError
from lrcr.retrieval.searcher import Searcher
from lrcr.retrieval.sharded.actors import RayWorker
from lrcr.retrieval.sharded.searcher import ShardedSearcher

from ..living import build_at_once, draw_all, make_source
from ..steps import small

pytestmark = pytest.mark.cluster
ray = pytest.importorskip("ray")

QUERIES = draw_all([3, 5, 11])


@pytest.fixture(scope="module")
def segments(tmp_path_factory) -> Path:
    """An inverted file of four segments."""
    folder = tmp_path_factory.mktemp("segments")
    images = {f"a{number}": number for number in range(24)}
    source = make_source(folder / "source", "binary")
    return build_at_once(folder / "index", source, small("index.memory_gib=1e-9"), images, parts=4)


@pytest.fixture(scope="module", autouse=True)
def _cluster():
    ray.init(num_cpus=3, include_dashboard=False, logging_level="ERROR")
    yield
    ray.shutdown()


def test_actors_answer_as_the_whole_index_and_their_end_is_noticed(segments):
    settings = SearchParams(idf=True, multiple_assignment=3)
    with ShardedSearcher(segments, settings, shards=2, threads=1, worker=RayWorker) as searcher:
        found, expected = searcher.search(QUERIES, 7), Searcher(segments, settings).search(QUERIES, 7)
        np.testing.assert_array_equal(found.image, expected.image)
        np.testing.assert_array_equal(found.score.view(np.uint32), expected.score.view(np.uint32))
        searcher._workers[0].ask(replace(searcher.index.prepare(QUERIES), dim=7), 1)
        with pytest.raises(ArtifactError, match="postings of D = 7"):
            searcher._workers[0].answer()
        with pytest.raises(ArtifactError, match="another state than that of the other shards"):
            RayWorker(replace(searcher._workers[0]._source, state="old")).images()
        ray.kill(searcher._workers[1]._actor)
        with pytest.raises(LostShardError, match="index: shard 2 of 2 is lost: "):
            searcher.search(QUERIES)
        searcher.partial = True
        assert searcher.search(QUERIES).unsearched == searcher._images[1] > 0
