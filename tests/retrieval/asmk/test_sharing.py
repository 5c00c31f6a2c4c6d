"""What an executor makes of an index and of a codebook is what one process makes; here the executor is this process."""

import pickle

import numpy as np
import pytest

from lrcr.errors import ArtifactError
from lrcr.progress import SILENT
from lrcr.retrieval.asmk import assignment, sharing
from lrcr.retrieval.asmk.aggregation import write_aggregated
from lrcr.retrieval.asmk.assignment import SharedAssignment
from lrcr.retrieval.asmk.codebook import learn_codebook
from lrcr.retrieval.asmk.kmeans import nearest_of_all
from lrcr.retrieval.asmk.segments import write_segments
from lrcr.retrieval.asmk.sharing import share_segments
from lrcr.runtime.processes import InProcess

from .cases import draw_batch, draw_centroids, layout_of, postings


@pytest.fixture
def centroids():
    return draw_centroids(np.random.default_rng(0), 12, 40)


@pytest.fixture
def parts(centroids):
    """Postings of nine batches; some images have none."""
    rng = np.random.default_rng(1)
    return [postings(draw_batch(rng, centroids, images), centroids) for images in (3, 1, 4, 2, 6, 1, 3, 5, 2)]


@pytest.fixture
def files(tmp_path, parts):
    (tmp_path / "state").mkdir()
    found = [tmp_path / "state" / f"shard-{number:05}.npz" for number in range(len(parts))]
    for file, part in zip(found, parts, strict=True):
        write_aggregated(file, part)
    return found


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.npy")}


@pytest.mark.parametrize("most", [1, 25, 60, 10**6])
def test_segments_are_those_of_one_process(tmp_path, centroids, parts, files, most):
    layout = layout_of(centroids)
    memory = most * layout.posting_bytes
    for folder in ("one", "shared"):
        (tmp_path / folder).mkdir()
    expected = write_segments(tmp_path / "one", parts, layout, memory)
    found = share_segments(files, layout, memory, tmp_path / "shared", InProcess(), SILENT)
    assert found == expected and [list(entry) for entry in found] == [list(entry) for entry in expected]
    assert contents(tmp_path / "shared") == contents(tmp_path / "one")
    assert (len(found) > 1) == (most < 10**6) and (len(found) == len(parts)) == (most == 1)


def test_segments_that_are_there_are_not_written_again(tmp_path, monkeypatch, centroids, files):
    layout, write, written = layout_of(centroids), sharing.write_segment, []

    def write_or_stop(folder, parts, layout):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(folder)
        return write(folder, parts, layout)

    monkeypatch.setattr(sharing, "write_segment", write_or_stop)
    (tmp_path / "index").mkdir()
    with pytest.raises(KeyboardInterrupt):
        share_segments(files, layout, 1, tmp_path / "index", InProcess(), SILENT)
    monkeypatch.setattr(sharing, "write_segment", lambda *given: written.append(given) or write(*given))
    found = share_segments(files, layout, 1, tmp_path / "index", InProcess(), SILENT)
    assert len(found) == len(written) == len(files)


def test_postings_that_do_not_fit_are_refused(tmp_path, centroids, files):
    with pytest.raises(ArtifactError, match=r"shard-00000\.npz: postings of D = 40, binary = True, but the index has"):
        share_segments(files, layout_of(centroids, binary=False), 10**9, tmp_path, InProcess(), SILENT)


class Reversed:
    """Runs the jobs from the last to the first, as a cluster may."""

    def map(self, make, jobs, progress):
        InProcess().map(pickle.loads(pickle.dumps(make)), jobs[::-1], progress)


@pytest.fixture
def points(monkeypatch):
    """1,000 descriptors in blocks of 300."""
    monkeypatch.setattr(assignment, "_BLOCK", 300)
    return np.random.default_rng(2).normal(size=(1000, 16)).astype(np.float32)


def test_a_shared_codebook_is_that_of_one_process(tmp_path, points):
    given = {"words": 20, "iterations": 5, "seed": 0, "exact": False}
    expected = learn_codebook(points, **given).centroids
    made = []
    for executor in (InProcess(), Reversed()):
        (state := tmp_path / type(executor).__name__).mkdir()

        def nearest(points, centroids, state=state, executor=executor):
            found = SharedAssignment(state, nearest_of_all, executor)(points, centroids)
            made.append(len(list(state.glob("assigned-*/shard-*.npy"))))
            return found

        np.testing.assert_array_equal(learn_codebook(points, **given, nearest=nearest).centroids, expected)
    assert made == [4, 4, 4] * 2, "four blocks in the iterations 1, 2 and 4"


def test_blocks_find_the_nearest_words(tmp_path, points):
    centroids = points[:20]
    found = SharedAssignment(tmp_path, nearest_of_all, Reversed())(points, centroids)
    distances = ((points[:, None] - centroids) ** 2).sum(axis=2)
    np.testing.assert_array_equal(found, np.argsort(distances, axis=1, kind="stable")[:, :8])


def test_segments_survive_an_index_that_was_lost(tmp_path, monkeypatch, centroids, files):
    """A run may be killed after its segments are in the folder of the index, which is then removed."""
    found = []
    for folder in ("lost", "index"):
        (tmp_path / folder).mkdir()
        found.append(share_segments(files, layout_of(centroids), 1, tmp_path / folder, InProcess(), SILENT))
        monkeypatch.setattr(sharing, "write_segment", lambda *_: pytest.fail("a segment is written again"))
    assert found[0] == found[1] and contents(tmp_path / "lost") == contents(tmp_path / "index")
