"""An index of descriptors that are not stored is the index of those that are."""

from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lrcr.config.params import Params
from lrcr.data.dataset import Photo, open_dataset
from lrcr.data.loading import load_batches
from lrcr.errors import ArtifactError, ParamsError, ShareMade
from lrcr.evaluation.evaluate import evaluate_dataset
from lrcr.features import extractor as extractor_module
from lrcr.features.extractor import Extractor, ExtractSettings
from lrcr.features.store import open_descriptors
from lrcr.progress import Progress
from lrcr.report.dataset import report_dataset
from lrcr.retrieval import build
from lrcr.retrieval.asmk import fit
from lrcr.retrieval.codebook import make_codebook
from lrcr.retrieval.encoding import sample_of_photos
from lrcr.runtime.processes import InProcess
from lrcr.storage.artifacts import open_manifest

from .steps import arrays, make_descriptors, make_index, small

KINDS = {
    "binary": (),
    "residuals": ("index.binary=false", "index.pack_ids=true"),
    "approximate": ("index.quantisation=approximate",),
    "half": ("extract.dtype=float16",),
    "vectors": ("model.name=gem", "codebook.dim=3"),
    "regions": ("model.name=rmac", "codebook.dim=3"),
}


def settings(kind: str, *, stored: bool) -> Params:
    return small(*KINDS[kind], f"extract.store_descriptors={str(stored).lower()}")


@pytest.fixture(scope="module")
def sights(tmp_path_factory, draw_dataset) -> Path:
    """Sixteen photos of five landmarks, the first five of which are queries by a box."""
    boxes = [(4.0 + i, 2.0, 40.0, 30.0 + i) for i in range(5)]
    queries = pd.DataFrame({"query": range(5), "path": [f"images/{i}.png" for i in range(5)], "image": range(5)})
    queries[["x0", "y0", "x1", "y1"]] = boxes
    relevance = pd.DataFrame(
        [(i, i + 5 * k, "easy") for i in range(5) for k in (1, 2)], columns=["query", "image", "grade"]
    )
    labels = [f"landmark {i % 5}" for i in range(15)]
    folder = tmp_path_factory.mktemp("data") / "sights"
    return draw_dataset(folder, [(48, 36)] * 16, [*labels, None], queries=queries, relevance=relevance)


def make(folder: Path, sights: Path, kind: str, *, stored: bool) -> Params:
    """All artifacts up to the codebook."""
    params = settings(kind, stored=stored)
    make_descriptors(folder, params, sights)
    make_codebook(params, folder / "fit", folder / "codebook")
    return params


def index(folder: Path, sights: Path, params: Params, **given) -> None:
    make_index(folder, params, sights, folder / "index", **given)


@pytest.mark.parametrize("kind", KINDS)
def test_the_index_is_that_of_stored_descriptors(tmp_path, sights, kind, state):
    results = []
    for folder, stored in ((tmp_path / "stored", True), (tmp_path / "dropped", False)):
        params = make(folder, sights, kind, stored=stored)
        index(folder, sights, params)
        results.append(evaluate_dataset(params, sights, folder / "descriptors", folder / "index"))
    stored, dropped = results
    assert arrays(tmp_path / "stored/index") == arrays(tmp_path / "dropped/index") != {}
    np.testing.assert_array_equal(stored.ranking.image, dropped.ranking.image)
    np.testing.assert_array_equal(stored.ranking.score, dropped.ranking.score)
    assert stored.evaluation.map == dropped.evaluation.map
    assert not list(tmp_path.glob("dropped/descriptors/database/*.h5"))
    assert not list(state.iterdir())
    if kind == "approximate":
        facts = open_manifest(tmp_path / "dropped/index", "index").facts
        assert facts["recall@1"] == facts["recall@5"] == 1, "all words of so few are looked at"


@pytest.fixture
def dropped(tmp_path, sights) -> tuple[Path, Params]:
    return tmp_path / "dropped", make(tmp_path / "dropped", sights, "binary", stored=False)


class Killed(BaseException):
    """As a signal: no `except Exception` catches it."""


class KillAt(Progress):
    """Dies when more than so many photos are encoded."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.done = 0
        self.tasks: list[tuple[str, int | None]] = []

    @contextmanager
    def task(self, description, total):
        self.tasks.append((description, total))
        yield self if description == "extract and encode" else Progress()

    def advance(self, steps=1):
        self.done += steps
        if self.done > self.step:
            raise Killed


def test_a_killed_index_continues_after_its_last_whole_shard(tmp_path, monkeypatch, sights, dropped, state):
    folder, params = dropped
    progress = KillAt(16)
    index(folder, sights, params, progress=progress)
    assert (progress.tasks, progress.done) == ([("extract and encode", 16), ("index", 4)], 16)
    whole = arrays(folder / "index")
    with pytest.raises(Killed):
        index(folder, sights, params, progress=KillAt(12))
    assert arrays(folder / "index") == whole, "the old index is still there"
    [parts] = state.iterdir()
    assert [file.name for file in sorted(parts.iterdir())] == ["shard-00000.npz", "shard-00001.npz"]
    described: list[Photo] = []
    monkeypatch.setattr(
        extractor_module, "load_batches", lambda photos, *rest: described.extend(photos) or load_batches(photos, *rest)
    )
    index(folder, sights, params)
    assert arrays(folder / "index") == whole
    assert len(described) == 6
    assert not list(state.iterdir())


def test_workers_make_the_same_index(monkeypatch, sights, dropped):
    folder, params = dropped
    index(folder, sights, params)
    alone = arrays(folder / "index")
    monkeypatch.setenv("LRCR_WORKERS", "2")
    index(folder, sights, params)
    assert arrays(folder / "index") == alone


def test_shares_of_an_array_job_and_a_last_run_make_the_same_index(tmp_path, monkeypatch, sights, dropped, state):
    folder, params = dropped
    index(folder, sights, params)
    alone = arrays(folder / "index")
    for share in ("0/2", "1/2"):
        monkeypatch.setenv("LRCR_SHARD", share)
        with pytest.raises(ShareMade):
            make_index(folder, params, sights, tmp_path / "shared")
        assert not (tmp_path / "shared").exists()
    monkeypatch.delenv("LRCR_SHARD")
    monkeypatch.setattr(Extractor, "describe", None)
    make_index(folder, params, sights, tmp_path / "shared")
    assert arrays(tmp_path / "shared") == alone and not list(state.iterdir())


@pytest.mark.parametrize("stored", [True, False])
def test_an_executor_makes_the_same_index(tmp_path, monkeypatch, sights, state, stored):
    """As on a cluster, but here the executor is this process. A segment holds two or three shards."""
    params = make(tmp_path, sights, "binary", stored=stored)
    small_segments = params.index.model_copy(update={"memory_gib": 1e-6})
    params = params.model_copy(update={"index": small_segments})
    index(tmp_path, sights, params)
    alone = arrays(tmp_path / "index")
    assert "segment-0001/codes.npy" in alone
    facts = open_manifest(tmp_path / "index", "index").facts
    for module in (build, fit):
        monkeypatch.setattr(module, "choose_executor", lambda *_: InProcess())
    shared = params.model_copy(update={"executor": "ray"})
    make_codebook(shared, tmp_path / "fit", tmp_path / "codebook")
    index(tmp_path, sights, shared)
    assert arrays(tmp_path / "index") == alone and not list(state.iterdir())
    assert open_manifest(tmp_path / "index", "index").facts == facts


def test_an_index_of_stored_descriptors_has_no_shares(tmp_path, monkeypatch, sights):
    params = make(tmp_path, sights, "binary", stored=True)
    monkeypatch.setenv("LRCR_SHARD", "0/2")
    with pytest.raises(ParamsError, match=r"^LRCR_SHARD: an index of stored descriptors cannot be made in shares"):
        index(tmp_path, sights, params)


def test_a_sample_of_photos_is_drawn_from_all_of_them(dropped, sights):
    folder, params = dropped
    extractor = Extractor(folder / "model.pt", ExtractSettings.of_database(params), "cpu")
    photos = open_dataset(sights).photos()
    everything = extractor.describe(photos).descriptors
    whole = sample_of_photos(extractor, photos, 10**6, np.random.default_rng(0))
    np.testing.assert_array_equal(whole, everything)
    some = [sample_of_photos(extractor, photos, 30, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(some[0], some[1])
    assert [part.shape for part in some] == [(30, 8)] * 3 and not np.array_equal(some[0], some[2])
    few = sample_of_photos(extractor, photos * 3, 10**6, np.random.default_rng(0))
    assert len(few) == 20 * 20, "twenty photos are described, not all"


def test_what_reads_descriptors_describes_again_or_says_that_they_are_gone(tmp_path, sights, dropped):
    folder, params = dropped
    index(folder, sights, params)
    result = evaluate_dataset(params, sights, folder / "descriptors", folder / "index")
    assert "localisation" not in result.metrics
    result.ranking.save(folder / "ranking.parquet")
    made = (sights, folder / "descriptors", folder / "index", folder / "ranking.parquet")
    report_dataset(params, *made, folder / "report")
    assert len(list((folder / "report").glob("matches-*.png"))) == 4
    said = r"database: holds no descriptors; set extract\.store_descriptors to true and extract again"
    with pytest.raises(ArtifactError, match=said):
        open_descriptors(folder / "descriptors/database").image(0)


def test_descriptors_that_were_not_stored_are_not_taken_for_stored_ones(sights, dropped):
    folder, _ = dropped
    said = r"made with extract\.store_descriptors = False, but the params now say True"
    with pytest.raises(ArtifactError, match=said):
        index(folder, sights, settings("binary", stored=True))
