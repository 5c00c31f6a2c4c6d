"""An index of descriptors that are not kept is the index of those that are."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lrcr import extraction
from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.data.dataset import Photo
from lrcr.data.loading import load_batches
from lrcr.errors import ArtifactError
from lrcr.evaluation.evaluate import evaluate_dataset
from lrcr.features.extraction import extract_dataset, extract_fit
from lrcr.features.store import open_descriptors
from lrcr.models.factory import MODEL_SECTIONS, build_model, save_model
from lrcr.report.dataset import report_dataset
from lrcr.retrieval.build import index_dataset, make_codebook
from lrcr.storage.artifacts import Manifest, open_manifest

SMALL = (
    *("backbone.skip_layers=3", "backbone.weights=none", "whitening.dim=8", "extract.image_size=48"),
    *("extract.scales=[1.0, 0.7]", "extract.max_descriptors=20", "extract.shard_size=5", "codebook.words=6"),
)
KINDS = {
    "binary": (),
    "residuals": ("index.binary=false", "index.pack_ids=true"),
    "approximate": ("index.quantisation=approximate",),
    "half": ("extract.dtype=float16",),
    "vectors": ("model.name=gem", "codebook.dim=3"),
    "regions": ("model.name=rmac", "codebook.dim=3"),
}


def small(kind: str, *, keep: bool) -> Params:
    return load_params(overrides=[*SMALL, *KINDS[kind], f"extract.store_descriptors={str(keep).lower()}"])


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


def make(folder: Path, sights: Path, kind: str, *, keep: bool) -> Params:
    """All artifacts up to the codebook."""
    params = small(kind, keep=keep)
    folder.mkdir()
    save_model(folder / "model.pt", build_model(params), Manifest("model", params.sections(*MODEL_SECTIONS), {}))
    extract_dataset(params, folder / "model.pt", sights, folder / "descriptors")
    extract_fit(params, folder / "model.pt", sights, folder / "fit")
    make_codebook(params, folder / "fit", folder / "codebook")
    return params


def index(folder: Path, sights: Path, params: Params, **given) -> None:
    inputs = (folder / "model.pt", sights, folder / "descriptors", folder / "codebook")
    index_dataset(params, *inputs, folder / "index", **given)


def arrays(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.npy")}


@pytest.mark.parametrize("kind", KINDS)
def test_the_index_is_that_of_kept_descriptors(tmp_path, sights, kind, state):
    results = []
    for folder, keep in ((tmp_path / "kept", True), (tmp_path / "dropped", False)):
        params = make(folder, sights, kind, keep=keep)
        index(folder, sights, params)
        results.append(evaluate_dataset(params, sights, folder / "descriptors", folder / "index"))
    kept, dropped = results
    assert arrays(tmp_path / "kept/index") == arrays(tmp_path / "dropped/index") != {}
    np.testing.assert_array_equal(kept.ranking.image, dropped.ranking.image)
    np.testing.assert_array_equal(kept.ranking.score, dropped.ranking.score)
    assert kept.evaluation.map == dropped.evaluation.map
    assert not list(tmp_path.glob("dropped/descriptors/database/*.h5"))
    assert not list(state.iterdir())
    if kind == "approximate":
        facts = open_manifest(tmp_path / "dropped/index", "index").facts
        assert 0.5 < facts["recall@1"] <= 1


@pytest.fixture
def dropped(tmp_path, sights) -> tuple[Path, Params]:
    return tmp_path / "dropped", make(tmp_path / "dropped", sights, "binary", keep=False)


class Killed(BaseException):
    """As a signal: no `except Exception` catches it."""


def kill_at(step: int):
    def progress.over(items, description, total=None):
        for number, item in enumerate(items):
            if description == "extract and reduce" and number == step:
                raise Killed
            yield item

    return track


def test_a_killed_index_continues_after_its_last_whole_shard(tmp_path, monkeypatch, sights, dropped, state):
    folder, params = dropped
    index(folder, sights, params)
    whole = arrays(folder / "index")
    with pytest.raises(Killed):
        index(folder, sights, params, progress=kill_at(12))
    assert arrays(folder / "index") == whole, "the old index is still there"
    [parts] = state.iterdir()
    assert [file.name for file in sorted(parts.iterdir())] == ["shard-00000.npz", "shard-00001.npz"]
    described: list[Photo] = []
    monkeypatch.setattr(
        extraction, "load_batches", lambda photos, *rest: described.extend(photos) or load_batches(photos, *rest)
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


def test_what_reads_descriptors_describes_again_or_says_that_they_are_gone(tmp_path, sights, dropped):
    folder, params = dropped
    index(folder, sights, params)
    result = evaluate_dataset(params, sights, folder / "descriptors", folder / "index")
    assert "localisation" not in result.metrics
    result.ranking.save(folder / "ranking.parquet")
    made = (sights, folder / "descriptors", folder / "index", folder / "ranking.parquet")
    report_dataset(params, *made, folder / "report")
    assert len(list((folder / "report").glob("matches-*.png"))) == 4
    with pytest.raises(ArtifactError, match=r"database: no descriptors were kept; set extract\.keep to true"):
        open_descriptors(folder / "descriptors/database").image(0)


def test_descriptors_that_were_not_kept_are_not_taken_for_kept_ones(sights, dropped):
    folder, _ = dropped
    with pytest.raises(ArtifactError, match=r"made with extract\.keep = False, but the params now say True"):
        index(folder, sights, small("binary", keep=True))
