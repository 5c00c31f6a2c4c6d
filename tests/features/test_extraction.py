import multiprocessing
import pickle
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch

from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.data import loading
from lrcr.data.dataset import Photo, cluster_ids, open_dataset
from lrcr.data.loading import load_batches
from lrcr.errors import ArtifactError, DatasetError, ImageError, OutOfMemoryError, ShareMade
from lrcr.features import extraction, extractor
from lrcr.features.extraction import database_manifest, extract_dataset, extract_fit, sample_photos
from lrcr.features.extractor import Extractor, ExtractSettings, extract_photos
from lrcr.features.store import Descriptors, open_descriptors
from lrcr.models.factory import MODEL_SECTIONS, build_model, save_model
from lrcr.models.local import LocalModel
from lrcr.progress import Progress
from lrcr.runtime.executor import make_shards
from lrcr.storage.artifacts import Manifest
from lrcr.storage.state import take_finished

CPU = torch.device("cpu")
SIZES = [(40, 30), (30, 40), (40, 30), (24, 24), (40, 30), (30, 40), (24, 24)]
SMALL = (
    *("backbone.name=resnet18", "backbone.skip_layers=3", "backbone.weights=none", "backbone.crop_border=0"),
    *("smoothing.kind=average", "whitening.dim=8", "train.validation.by=global"),
    "extract.image_size=32",
    "extract.scales=[1.0, 0.5]",
    "extract.max_descriptors=12",
    "extract.shard_size=3",
    "codebook.images=5",
    "codebook.max_descriptors=10",
)


def small(*overrides: str) -> Params:
    return load_params(overrides=[*SMALL, *overrides])


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return build_model(small()).eval()


@pytest.fixture(scope="module")
def model_file(tmp_path_factory, model) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.pt"
    save_model(path, model, Manifest("model", small().sections(*MODEL_SECTIONS), {}))
    return path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, draw_dataset) -> Path:
    """Seven photos of three shapes; of the four queries two are in the database as they are, one with a box."""
    queries = pd.DataFrame(
        {
            "query": range(4),
            "path": ["gone.png", "images/1.png", "images/3.png", "gone.png"],
            "x0": [np.nan, 4.0, np.nan, np.nan],
            "y0": [np.nan, 6.0, np.nan, np.nan],
            "x1": [np.nan, 29.0, np.nan, np.nan],
            "y1": [np.nan, 38.0, np.nan, np.nan],
            "image": [6, 1, None, 0],
        }
    )
    relevance = pd.DataFrame({"query": [0], "image": [1], "grade": ["easy"]})
    folder = tmp_path_factory.mktemp("data") / "drawn"
    return draw_dataset(folder, SIZES, ["a", "b"] * 3 + ["a"], queries=queries, relevance=relevance)


class Killed(BaseException):
    """As a signal: no `except Exception` catches it."""


class Recorder(Progress):
    """Counts the steps of each task; is killed when more than `dies_at` steps of the task `dies_in` are done."""

    def __init__(self, dies_in: str = "", dies_at: int = 0) -> None:
        self.steps: dict[str, int] = {}
        self.totals: dict[str, int | None] = {}
        self.dies = (dies_in, dies_at)

    @contextmanager
    def task(self, description, total):
        self.steps[description], self.totals[description] = 0, total
        yield _Task(self, description)


class _Task(Progress):
    def __init__(self, recorder: Recorder, description: str) -> None:
        self.recorder, self.description = recorder, description

    def advance(self, steps=1):
        self.recorder.steps[self.description] += steps
        dies_in, dies_at = self.recorder.dies
        if self.description == dies_in and self.recorder.steps[self.description] > dies_at:
            raise Killed


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, model_file, dataset) -> Path:
    folder = tmp_path_factory.mktemp("out") / "descriptors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRCR_STATE", str(tmp_path_factory.mktemp("state")))
        extract_dataset(small(), model_file, dataset, folder)
    return folder


def assert_close(found: Descriptors, expected: Descriptors) -> None:
    np.testing.assert_array_equal(found.offsets, expected.offsets)
    for name in ("strength", "xy", "scale", "descriptors"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-4, err_msg=name)


def describe(model: LocalModel, *photos: Photo, **settings) -> Descriptors:
    given = {"image_size": 32, "scales": [1.0, 0.5], "max_descriptors": 12}
    return extract_photos(model, photos, ExtractSettings(**{**given, **settings}), CPU)


def test_database_holds_each_photo_described_alone(undisturbed, dataset, model):
    found = open_descriptors(undisturbed / "database").read()
    assert len(found) == len(SIZES)
    for image, photo in enumerate(open_dataset(dataset).photos()):
        assert_close(found.take([image]), describe(model, photo))


def test_queries_hold_boxes_and_reuse_the_rows_of_the_database(undisturbed, dataset, model):
    database, queries = (open_descriptors(undisturbed / part).read() for part in ("database", "queries"))
    photos = open_dataset(dataset).query_photos()
    for query, image in ((0, 6), (3, 0)):  # their photos are not there to be read
        np.testing.assert_array_equal(queries.take([query]).descriptors, database.take([image]).descriptors)
    for query in (1, 2):
        assert_close(queries.take([query]), describe(model, photos[query]))
    box = queries.take([1])
    assert ((box.xy > [4, 6]) & (box.xy < [29, 38])).all()


def test_store_tells_what_it_was_made_from(undisturbed, dataset, model_file):
    database, queries = (open_descriptors(undisturbed / part) for part in ("database", "queries"))
    assert (database.images, queries.images) == (7, 4)
    assert database.manifest.facts["descriptors"] == len(database.read().descriptors) == 7 * 12
    assert [len(shard) for shard in database.shards()] == [3, 3, 1]
    assert database.manifest.params == {"part": "database", **small().sections("extract")}
    assert database.manifest.inputs["dataset"] == open_dataset(dataset).fingerprint
    for store in (database, queries):
        assert store.manifest.facts.items() >= {"device": "cpu", "threads": 1}.items()
    assert database.manifest.fingerprint != queries.manifest.fingerprint
    extractor = Extractor(model_file, ExtractSettings.of_database(small()), "cpu")
    assert database.manifest.fingerprint == database_manifest(small(), extractor, open_dataset(dataset)).fingerprint


def test_each_image_is_a_step_and_the_cost_is_told(tmp_path, model_file, dataset, state):
    progress = Recorder()
    cost = extract_dataset(small(), model_file, dataset, tmp_path / "out", progress)
    assert progress.steps == progress.totals == {"extract database": 7, "extract queries": 4}
    assert (
        cost == {"extract_images_per_second": mock.ANY, "extract_threads": 1} and cost["extract_images_per_second"] > 0
    )
    assert not list(state.iterdir())


def test_the_extraction_is_timed_after_a_warm_up(tmp_path, model_file, dataset, monkeypatch):
    """Here every shard takes a second by the clock."""
    shards, describe, readings = [], extractor.extract_photos, []

    def note(model, photos, *rest):
        shards.append(len(photos))
        return describe(model, photos, *rest)

    def clock() -> float:
        readings.append(len(shards))
        return readings[-1]

    monkeypatch.setattr(extractor, "extract_photos", note)
    monkeypatch.setattr(extraction, "time", mock.Mock(perf_counter=clock))
    cost = extract_dataset(small(), model_file, dataset, tmp_path / "out")
    assert shards[:4] == [1, 3, 3, 1] and readings == [1, 4]
    assert cost["extract_images_per_second"] == 7 / 3


def test_the_manifest_names_the_number_of_threads_and_the_fingerprint_does_not(
    tmp_path, threads, model_file, dataset, undisturbed
):
    with threads(2):
        cost = extract_dataset(small(), model_file, dataset, tmp_path / "out")
    one, two = (open_descriptors(folder / "database").manifest for folder in (undisturbed, tmp_path / "out"))
    assert (one.facts["threads"], two.facts["threads"], cost["extract_threads"]) == (1, 2, 2)
    assert one.fingerprint == two.fingerprint


def test_decoding_threads_change_no_byte(tmp_path, monkeypatch, model_file, dataset, undisturbed):
    monkeypatch.setattr(loading, "decoding_threads", lambda: 4)
    extract_dataset(small(), model_file, dataset, tmp_path / "out")
    assert files(tmp_path / "out") == files(undisturbed)


def test_two_workers_make_what_one_makes(tmp_path, monkeypatch, model_file, dataset, state):
    """The database; its two shards are made by two processes, the one of the queries by this."""
    params, progress = small("extract.shard_size=4"), Recorder()
    extract_dataset(params, model_file, dataset, tmp_path / "one")
    monkeypatch.setenv("LRCR_WORKERS", "2")
    extract_dataset(params, model_file, dataset, tmp_path / "two", progress)
    assert files(tmp_path / "two") == files(tmp_path / "one")
    assert progress.steps == progress.totals == {"extract database": 7, "extract queries": 4}
    assert not list(state.iterdir()) and not multiprocessing.active_children()


def test_shares_of_an_array_job_and_a_last_run_make_what_one_run_makes(
    tmp_path, monkeypatch, model_file, dataset, undisturbed, state
):
    for share in ("1/2", "0/2"):
        monkeypatch.setenv("LRCR_SHARD", share)
        with pytest.raises(ShareMade):
            extract_dataset(small(), model_file, dataset, tmp_path / "out")
    monkeypatch.delenv("LRCR_SHARD")
    assert sorted(file.name for file in state.rglob("*.h5")) == [f"shard-0000{shard}.h5" for shard in range(3)]
    [damaged] = state.rglob("shard-00001.h5")
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(ArtifactError, match=r"shard-00001\.h5: not a shard of descriptors .*; extract again"):
        extract_dataset(small(), model_file, dataset, tmp_path / "out")
    progress = Recorder()
    extract_dataset(small(), model_file, dataset, tmp_path / "out", progress)
    assert files(tmp_path / "out") == files(undisturbed)
    assert progress.steps["extract database"] == 7 and not list(state.iterdir())


def test_what_describes_queries_travels_to_workers(tmp_path, monkeypatch, model_file, dataset, undisturbed):
    """As to a process: pickled with the extractor and the store that it reads."""
    monkeypatch.setattr(
        extraction, "make_shards", lambda make, *rest: make_shards(pickle.loads(pickle.dumps(make)), *rest)
    )
    extract_dataset(small(), model_file, dataset, tmp_path / "out")
    assert files(tmp_path / "out") == files(undisturbed)


@pytest.mark.parametrize(
    ("part", "step", "left"),
    [("database", 1, 7), ("database", 4, 4), ("queries", 1, 0)],
)
def test_a_killed_extraction_continues_to_the_same_bytes(
    tmp_path, monkeypatch, model_file, dataset, undisturbed, state, part, step, left
):
    folder = tmp_path / "out"
    with pytest.raises(Killed):
        extract_dataset(small(), model_file, dataset, folder, Recorder(f"extract {part}", step))
    assert not folder.exists() and not list(tmp_path.iterdir())
    described: list[Photo] = []
    monkeypatch.setattr(
        extractor, "load_batches", lambda photos, *rest: described.extend(photos) or load_batches(photos, *rest)
    )
    progress = Recorder()
    extract_dataset(small(), model_file, dataset, folder, progress)
    assert files(folder) == files(undisturbed)
    assert progress.steps == progress.totals == {"extract database": 7, "extract queries": 4}
    expected = 1 + left + 2
    assert len(described) == expected, "a warm-up, photos of unfinished shards, and the two queries that reuse no rows"
    assert not list(state.iterdir())


def test_a_kill_while_the_store_is_completed_loses_nothing(tmp_path, monkeypatch, model_file, dataset, undisturbed):
    taken: list[Path] = []

    def kill(source: Path, target: Path) -> None:
        if len(taken) == 2:
            raise Killed
        taken.append(source)
        take_finished(source, target)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(extraction, "take_finished", kill)
        extract_dataset(small(), model_file, dataset, tmp_path / "out")
    described: list[Photo] = []
    monkeypatch.setattr(
        extractor, "load_batches", lambda photos, *rest: described.extend(photos) or load_batches(photos, *rest)
    )
    extract_dataset(small(), model_file, dataset, tmp_path / "out")
    assert len(described) == 1, "the warm-up"
    assert files(tmp_path / "out") == files(undisturbed)


def test_unfinished_shards_of_another_size_are_not_taken_up(tmp_path, model_file, dataset):
    with pytest.raises(Killed):
        extract_fit(small("extract.shard_size=3"), model_file, dataset, tmp_path / "fit", Recorder("extract fit", 3))
    extract_fit(small("extract.shard_size=2"), model_file, dataset, tmp_path / "fit")
    found = open_descriptors(tmp_path / "fit")
    assert found.images == len(found.read()) == 5


def test_a_damaged_photo_leaves_the_old_store_alone(tmp_path, model_file, draw_dataset):
    folder = draw_dataset(tmp_path / "data", SIZES, [None] * 7)
    extract_dataset(small(), model_file, folder, tmp_path / "out")
    before = files(tmp_path / "out")
    (folder / "images" / "5.png").write_bytes(b"text")
    with pytest.raises(ImageError, match=r"5\.png"):
        extract_dataset(small("extract.max_descriptors=3"), model_file, folder, tmp_path / "out")
    assert files(tmp_path / "out") == before


def test_out_of_memory_tells_the_remedy(tmp_path, monkeypatch, model_file, dataset):
    monkeypatch.setattr(LocalModel, "describe", lambda *_: torch.empty(2**50))
    for extract in (extract_dataset, extract_fit):
        with pytest.raises(OutOfMemoryError, match=r"^out of memory: .*; lower extract\.image_size, or the largest of"):
            extract(small(), model_file, dataset, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_new_extraction_replaces_the_old_one(tmp_path, model_file, dataset, undisturbed):
    extract_dataset(small("extract.shard_size=7"), model_file, dataset, tmp_path / "out")
    extract_dataset(small(), model_file, dataset, tmp_path / "out")
    assert files(tmp_path / "out") == files(undisturbed)


def test_float16_is_the_rounded_float32(tmp_path, model_file, dataset, undisturbed):
    extract_dataset(small("extract.dtype=float16"), model_file, dataset, tmp_path)
    for part in ("database", "queries"):
        half, full = (open_descriptors(folder / part).read() for folder in (tmp_path, undisturbed))
        assert half.descriptors.dtype == np.float16
        np.testing.assert_array_equal(half.descriptors, full.descriptors.astype(np.float16))
        np.testing.assert_array_equal(half.xy, full.xy)
        np.testing.assert_array_equal(half.strength, full.strength)


def test_a_dataset_without_images_is_refused(tmp_path, model_file, draw_dataset):
    folder = draw_dataset(tmp_path / "data", [], [])
    for extract in (extract_dataset, extract_fit):
        with pytest.raises(DatasetError, match="data: has no images; add some"):
            extract(small(), model_file, folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_dataset_without_queries_has_an_empty_store_of_them(tmp_path, model_file, draw_dataset):
    folder = draw_dataset(tmp_path / "data", SIZES[:2], [None, None])
    extract_dataset(small(), model_file, folder, tmp_path / "out")
    assert open_descriptors(tmp_path / "out" / "queries").images == 0
    assert open_descriptors(tmp_path / "out" / "database").images == 2


def test_photos_too_small_for_any_scale_have_no_descriptors(tmp_path, model_file, draw_dataset):
    folder = draw_dataset(tmp_path / "data", [(3, 40), (40, 30), (1, 1)], [None] * 3)
    extract_dataset(small("extract.scales=[0.25]"), model_file, folder, tmp_path / "out")
    found = open_descriptors(tmp_path / "out" / "database").read()
    assert np.diff(found.offsets).tolist() == [0, 4, 0]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("smoothing.kernel=5", "smoothing.kernel = 3, but the params now say 5"),
        (
            "train.tuples.learning_rates.backbone=1",
            "train.tuples.learning_rates.backbone = 5e-06, but the params now say 1.0",
        ),
        ("seed=7", "seed = 0, but the params now say 7"),
    ],
)
def test_a_model_made_under_other_params_is_refused(tmp_path, model_file, dataset, override, said):
    for extract in (extract_dataset, extract_fit):
        with pytest.raises(ArtifactError) as error:
            extract(small(override), model_file, dataset, tmp_path / "out")
        assert str(error.value) == f"{model_file}: made with {said}; run its stage again"


def test_params_that_no_model_of_this_kind_reads_refuse_none(tmp_path, model_file, dataset, undisturbed):
    unread = (
        "train.listwise.bins=5",
        "train.classification.alpha=0.5",
        "train.validation.codebook.words=7",
        "pooling.p=2",
        "search.tau=0.25",
    )
    extract_dataset(small(*unread), model_file, dataset, tmp_path / "out")
    assert files(tmp_path / "out") == files(undisturbed)


def test_missing_inputs_are_refused(tmp_path, model_file, dataset):
    with pytest.raises(ArtifactError, match=r"none/dataset\.json: no such file"):
        extract_dataset(small(), model_file, tmp_path / "none", tmp_path / "out")
    with pytest.raises(ArtifactError, match=r"none\.pt: no such file; train a model first"):
        extract_dataset(small(), tmp_path / "none.pt", dataset, tmp_path / "out")


def test_the_fit_set_is_a_sample_at_its_own_scales(tmp_path, model_file, dataset, model):
    params = small("codebook.scales=[0.5]", "extract.dtype=float16")
    progress = Recorder()
    extract_fit(params, model_file, dataset, tmp_path / "fit", progress)
    store = open_descriptors(tmp_path / "fit")
    photos = sample_photos(open_dataset(dataset).photos(), 5, 0)
    assert_close(store.read(), describe(model, *photos, scales=[0.5], max_descriptors=10))
    assert progress.steps == progress.totals == {"extract fit": 5}
    assert store.read().descriptors.dtype == np.float32
    assert store.manifest.params == {"part": "fit", **params.fit_section()}
    opened = open_dataset(dataset)
    drawn = [opened.photos().index(photo) for photo in photos]
    assert store.manifest.facts["clusters"] == cluster_ids(opened)[drawn].tolist()


def test_the_fit_set_of_a_global_model_is_all_images(tmp_path, dataset):
    params = small("model.name=gem", "codebook.images=2")
    save_model(tmp_path / "model.pt", build_model(params), Manifest("model", params.sections(*MODEL_SECTIONS), {}))
    extract_fit(params, tmp_path / "model.pt", dataset, tmp_path / "fit")
    assert open_descriptors(tmp_path / "fit").manifest.facts["images"] == 7


def test_a_global_model_gives_one_row_an_image_in_its_centre(tmp_path, dataset):
    params = small("model.name=gem", "extract.max_descriptors=1")
    model = build_model(params).eval()
    save_model(tmp_path / "model.pt", model, Manifest("model", params.sections(*MODEL_SECTIONS), {}))
    extract_dataset(params, tmp_path / "model.pt", dataset, tmp_path / "out")
    database, queries = (open_descriptors(tmp_path / "out" / part).read() for part in ("database", "queries"))
    assert np.diff(database.offsets).tolist() == [1] * 7 and np.diff(queries.offsets).tolist() == [1] * 4
    np.testing.assert_allclose(np.linalg.norm(database.descriptors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(database.xy, np.array(SIZES) / 2)
    np.testing.assert_allclose(queries.xy[1], [16.5, 22])
    for image, photo in enumerate(open_dataset(dataset).photos()):
        assert_close(database.take([image]), describe(model, photo))


def test_samples_follow_the_seed_and_keep_the_order(dataset):
    opened = open_dataset(dataset)
    photos = opened.photos()
    samples = [tuple(photos.index(photo) for photo in sample_photos(opened.photos(), 4, seed)) for seed in range(20)]
    assert all(len(sample) == 4 and list(sample) == sorted(set(sample)) for sample in samples)
    assert {image for sample in samples for image in sample} == set(range(7))
    assert samples[0] == tuple(photos.index(photo) for photo in sample_photos(opened.photos(), 4, 0))
    for number in (7, 100):
        assert sample_photos(opened.photos(), number, 0) == photos
