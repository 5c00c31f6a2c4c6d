"""The public benchmarks: look-alikes through the real code, from download to evaluation; the real ground truth."""

import io
import json
import logging
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from pydantic import TypeAdapter

from lrcr.config.datasets import DatasetParams
from lrcr.config.params import Params
from lrcr.config.reading import load_params
from lrcr.data.dataset import Dataset, open_dataset
from lrcr.data.images import load_image
from lrcr.datasets import contents, make
from lrcr.datasets.make import make_dataset
from lrcr.datasets.sources import BENCHMARKS
from lrcr.errors import DatasetError, DownloadError
from lrcr.evaluation.evaluate import evaluate_dataset
from lrcr.features.extraction import extract_dataset, extract_fit
from lrcr.report.dataset import report_dataset
from lrcr.retrieval.build import index_dataset, make_codebook
from lrcr.training.train import train

from . import lookalikes
from .lookalikes import CORRUPT, photo, tar
from .server import ranged, serve

SMALL = (
    "backbone.skip_layers=3",
    "backbone.weights=none",
    "whitening.dim=16",
    "whitening.descriptors=50",
    "train.epochs=0",
    "train.image_size=64",
    "extract.image_size=96",
    "extract.scales=[1.0]",
    "extract.descriptors=40",
    "codebook.words=12",
    "codebook.descriptors=40",
    "codebook.images=12",
)


@pytest.fixture(scope="module")
def server():
    with serve() as running:
        yield running


@pytest.fixture
def published(server, monkeypatch):
    """The look-alikes in place of the benchmarks."""
    server.pages.clear()
    server.asked.clear()
    small = {
        "roxford5k": lookalikes.revisited(server, "roxford5k"),
        "rparis6k": lookalikes.revisited(server, "rparis6k"),
        "revisitop1m": lookalikes.distractors(server),
        **lookalikes.sfm120k(server),
        **lookalikes.gldv2(server),
    }
    for name, benchmark in small.items():
        monkeypatch.setitem(BENCHMARKS, name, benchmark)
    return small


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("LRCR_DOWNLOADS", str(tmp_path / "downloads"))
    monkeypatch.delenv("LRCR_ARCHIVES", raising=False)


def build(tmp_path: Path, kind: str, name: str | None = None, **more) -> Dataset:
    params = TypeAdapter(DatasetParams).validate_python({"kind": kind, **more})
    name = name or kind
    make_dataset(name, params, tmp_path / name, seed=0, checksums=tmp_path / "checksums.json")
    return open_dataset(tmp_path / name)


def facts(tmp_path: Path, name: str) -> dict:
    return json.loads((tmp_path / name / "dataset.json").read_text())["facts"]


def pixels(photo_: object) -> bytes:
    return load_image(photo_.path, orient=False).pixels.tobytes()


def decoded(contents: bytes) -> bytes:
    return Image.open(io.BytesIO(contents)).tobytes()


def run(tmp_path: Path, name: str, fit: str, params: Params | None = None) -> dict:
    """Everything between a dataset and its metrics, and the report."""
    params = params or load_params(overrides=SMALL)
    work = tmp_path / "work"
    train(params, tmp_path / fit, None, work / "model.pt")
    extract_dataset(params, work / "model.pt", tmp_path / name, work / "descriptors")
    extract_fit(params, work / "model.pt", tmp_path / fit, work / "fit")
    make_codebook(params, work / "fit", work / "codebook")
    inputs = (tmp_path / name, work / "descriptors", work / "codebook", work / "index")
    index_dataset(params, work / "model.pt", *inputs)
    result = evaluate_dataset(params, tmp_path / name, work / "descriptors", work / "index")
    result.ranking.save(work / "ranking.parquet")
    report = (tmp_path / name, work / "descriptors", work / "index", work / "ranking.parquet", work / "report")
    report_dataset(params, *report)
    assert (work / "report" / "rankings.png").stat().st_size
    return result.metrics


@pytest.mark.parametrize(("name", "prefix"), [("roxford5k", "oxford"), ("rparis6k", "paris")])
def test_revisited_from_download_to_evaluation(published, tmp_path, name, prefix):
    dataset = build(tmp_path, name)
    truth = pickle.loads(published_file(published[name].truth["truth"], tmp_path))
    assert [Path(path).stem for path in dataset.images["path"]] == truth["imlist"]
    assert [Path(path).stem for path in dataset.queries["path"]] == truth["qimlist"]
    assert dataset.queries["image"].isna().all()
    assert dataset.queries[["x0", "y0", "x1", "y1"]].to_numpy().tolist() == [[4.5, 2, 90, 71.2]] * 3
    for query, graded in enumerate(truth["gnd"]):
        rows = dataset.relevance[dataset.relevance["query"] == query]
        for grade in ("easy", "hard", "junk"):
            assert rows["image"][rows["grade"] == grade].tolist() == graded[grade]
    first = (
        dataset.images["path"]
        .tolist()
        .index(next(path for path in dataset.images["path"] if path.endswith(f"{prefix}_place_000012.jpg")))
    )
    assert pixels(dataset.photo(first)) == decoded(photo(1, 2))
    assert [pixels(query) for query in dataset.query_photos()] == [decoded(photo(mark, 9)) for mark in range(3)]
    assert not dataset.orient
    metrics = run(tmp_path, name, name)
    assert metrics["queries"] == 3
    assert metrics["map"]["medium"] > 60  # blocks of the same colours are easily found


def published_file(file, tmp_path: Path) -> bytes:
    return (tmp_path / "downloads" / file.name).read_bytes()


def test_a_made_dataset_leaves_no_state_and_downloads_once(published, server, tmp_path, state):
    first = build(tmp_path, "rparis6k").fingerprint
    asked = len(server.asked)
    assert build(tmp_path, "rparis6k").fingerprint == first
    assert len(server.asked) == asked
    assert list(state.iterdir()) == []
    recorded = json.loads((tmp_path / "checksums.json").read_text())
    assert set(recorded) == {"paris_1-v1.tgz", "paris_2-v1.tgz"}  # the ground truth's is known


def test_the_fingerprint_does_not_tell_where_the_archives_lie(published, tmp_path, monkeypatch):
    first = build(tmp_path, "gldv2", split="private").fingerprint
    (tmp_path / "downloads").rename(tmp_path / "own")
    monkeypatch.setenv("LRCR_ARCHIVES", str(tmp_path / "own"))
    monkeypatch.setenv("LRCR_DOWNLOADS", str(tmp_path / "elsewhere"))
    dataset = build(tmp_path, "gldv2", split="private")
    assert dataset.fingerprint == first
    assert dataset.root == tmp_path / "elsewhere"
    assert pixels(dataset.photo(0)) == decoded(photo(700, 0))


def test_distractors_report_what_is_missing_and_damaged(published, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = build(tmp_path, "revisitop1m")
    assert [Path(path).stem for path in dataset.images["path"]] == ["d00000", "d00001", "d00003", "d00005"]
    assert dataset.queries.empty
    told = facts(tmp_path, "revisitop1m")
    assert (told["listed"], told["missing"]) == (6, 2)
    assert list(told["refused"]) == ["jpg/04/d00004.jpg"]
    assert "2 of 6 listed images are not in the archives" in caplog.text


def test_a_database_with_a_million_more(published, tmp_path):
    plain = build(tmp_path, "roxford5k")
    dataset = build(tmp_path, "roxford5k", "roxford5k-1m", distractors=True)
    assert len(dataset.images) == 17 + 4
    assert dataset.images["path"][:17].tolist() == plain.images["path"].tolist()
    assert pixels(dataset.photo(20)) == decoded(photo(205, 0))
    assert dataset.relevance.equals(plain.relevance)
    assert dataset.fingerprint != plain.fingerprint
    assert run(tmp_path, "roxford5k-1m", "roxford5k")["queries"] == 3


def test_sfm120k_trains_and_validates(published, tmp_path):
    dataset = build(tmp_path, "sfm120k", "train", split="train")
    assert dataset.images["label"].value_counts().to_dict() == {str(mark): 4 for mark in range(400, 408)}
    assert dataset.pairs.to_numpy().tolist() == [[4 * i, 4 * i + 1] for i in range(8)]
    assert pixels(dataset.photo(5)) == decoded(photo(401, 1))
    pairs = build(tmp_path, "sfm120k", "val", split="val")
    assert len(pairs.images) == 12
    queries = build(tmp_path, "sfm120k", "eccv", split="val_eccv20")
    assert queries.queries["image"].tolist() == [0, 4, 8]
    assert queries.relevance[queries.relevance["query"] == 1].to_numpy().tolist() == [
        [1, 5, "easy"],
        [1, 6, "easy"],
        [1, 4, "junk"],
    ]
    params = load_params(
        overrides=[
            *SMALL,
            "train.epochs=1",
            "train.queries=4",
            "train.pool=16",
            "train.negatives=2",
            "train.validation.every=1",
        ]
    )
    logged = []
    train(params, tmp_path / "train", tmp_path / "eccv", tmp_path / "model.pt", log=logged.append)
    assert logged and logged[-1]["validation_map"] > 0
    assert run(tmp_path, "eccv", "train")["queries"] == 3


def test_google_landmarks_from_download_to_evaluation(published, tmp_path):
    dataset = build(tmp_path, "gldv2", "train", split="train")
    assert dataset.images["label"].value_counts().to_dict() == {"0": 3, "1": 3, "2": 3, "3": 3, "4": 2}
    assert len(facts(tmp_path, "train")["refused"]) == 1
    public = build(tmp_path, "gldv2", "public", split="public")
    assert [pixels(query) for query in public.query_photos()] == [decoded(photo(702, 9))]
    private = build(tmp_path, "gldv2", "private", split="private")
    assert (len(private.images), len(private.queries), len(private.relevance)) == (12, 2, 8)
    assert set(private.relevance["grade"]) == {"easy"}
    metrics = run(tmp_path, "private", "train")
    assert metrics["map@100"] > 60
    assert "map@100" not in run_again(tmp_path, build(tmp_path, "roxford5k"))


def run_again(tmp_path: Path, dataset: Dataset) -> dict:
    (tmp_path / "work").rename(tmp_path / "earlier")
    return run(tmp_path, dataset.name, "train")


@pytest.mark.parametrize(
    ("kind", "more", "change", "message"),
    [
        ("roxford5k", {}, {"images": 4993}, "roxford5k: 17 images, but the benchmark has 4993; get its files again"),
        ("rparis6k", {}, {"junk": 4}, "rparis6k: 3 junk, but the benchmark has 4"),
        ("revisitop1m", {}, {"listed": 7}, "revisitop1m: 6 listed, but the benchmark has 7"),
        ("sfm120k", {"split": "train"}, {"labels": 9}, "sfm120k/train: 8 labels, but the benchmark has 9"),
        ("gldv2", {"split": "train"}, {"images": 16}, "gldv2/train: 15 images, but the benchmark has 16"),
        ("gldv2", {"split": "public"}, {"queries": 2}, "gldv2/public: 1 queries, but the benchmark has 2"),
    ],
)
def test_an_incomplete_benchmark_is_no_dataset(published, tmp_path, monkeypatch, kind, more, change, message):
    name = "/".join([kind, *more.values()])
    monkeypatch.setitem(BENCHMARKS, name, replace(BENCHMARKS[name], counts={**BENCHMARKS[name].counts, **change}))
    with pytest.raises(DatasetError, match=message):
        build(tmp_path, kind, **more)
    assert [path.name for path in tmp_path.iterdir() if kind in path.name] == []


def test_an_image_that_the_archives_lack_or_that_is_damaged_is_named(published, server, tmp_path, monkeypatch):
    oxford = published["roxford5k"]
    names = [*(f"oxford_place_{10 * mark + view:06}" for mark in range(3) for view in (0, 1, 2, 3, 9))]
    images = {f"{name}.jpg": photo(int(name[-2]), int(name[-1])) for name in names}
    images |= {f"oxford_general_{i:06}.jpg": photo(100 + i, 0) for i in range(5)}

    def with_archive(contents: bytes):
        (archive,) = oxford.archives
        archive = replace(archive, urls=(server.url("/other.tar", ranged(contents)),), name="other.tar")
        monkeypatch.setitem(BENCHMARKS, "roxford5k", replace(oxford, archives=(archive,)))

    with_archive(tar({name: image for name, image in images.items() if "general" not in name}))
    with pytest.raises(
        DatasetError, match=r"names 'oxford_general_00000.', which is not in the archives \(so are 4 others"
    ):
        build(tmp_path, "roxford5k")
    (tmp_path / "checksums.json").unlink()
    (tmp_path / "downloads" / "other.tar").unlink()
    with_archive(tar({**images, "oxford_general_000003.jpg": CORRUPT}))
    with pytest.raises(DatasetError, match="names 'oxford_general_000003', which is refused: not an image"):
        build(tmp_path, "roxford5k")


def test_a_killed_run_does_not_look_into_the_same_archive_again(published, tmp_path, monkeypatch):
    looked = []

    def look(archive, *args):
        looked.append(archive.name)
        if len(looked) == 2:
            raise KeyboardInterrupt
        return original(archive, *args)

    original = contents._look
    monkeypatch.setattr(contents, "_look", look)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, "rparis6k")
    build(tmp_path, "rparis6k")
    assert looked == ["paris_1-v1.tar", "paris_2-v1.tar", "paris_2-v1.tar"]


def test_nothing_is_recorded_of_a_download_that_fails(published, server, tmp_path, monkeypatch):
    broken = replace(published["roxford5k"].archives[0], urls=(f"{server.address}/none",))
    monkeypatch.setitem(BENCHMARKS, "roxford5k", replace(published["roxford5k"], archives=(broken,)))
    with pytest.raises(DownloadError, match=r"oxbuild_images-v1.tgz: cannot be downloaded"):
        build(tmp_path, "roxford5k")
    assert not (tmp_path / "checksums.json").exists()
    assert not (tmp_path / "roxford5k").exists()


def test_the_default_record_lies_in_the_project():
    assert Path("checksums.json") == make.CHECKSUMS


@pytest.mark.parametrize(
    ("name", "graded", "archives"),
    [
        ("roxford5k", {"easy": 3029, "hard": 2497, "junk": 1356}, ["oxbuild_images-v1"]),
        ("rparis6k", {"easy": 6874, "hard": 10350, "junk": 7153}, ["paris_1-v1", "paris_2-v1"]),
    ],
)
def test_the_real_ground_truth_gives_the_published_counts(test_data, tmp_path, monkeypatch, name, graded, archives):
    """With the real file and a small image under each of its names."""
    import gzip
    import shutil

    from lrcr.datasets.pickles import read_pickle

    own = tmp_path / "own"
    own.mkdir()
    truth_file = test_data / "ground_truth" / f"gnd_{name}.pkl"
    shutil.copy(truth_file, own)
    truth = read_pickle(truth_file)
    images = {f"{image}.jpg": photo(0, 0, (16, 12)) for image in truth["imlist"][:1]}
    small, large = next(iter(images.values())), photo(0, 1, (1024, 1024))
    images = {f"{image}.jpg": small for image in truth["imlist"]}
    images |= {f"{image}.jpg": large for image in truth["qimlist"]}
    members = list(images.items())
    for i, archive in enumerate(archives):
        contents = tar(dict(members[i :: len(archives)]))
        (own / f"{archive}.tgz").write_bytes(gzip.compress(contents, 1))
    monkeypatch.setenv("LRCR_ARCHIVES", str(own))
    dataset = build(tmp_path, name)
    assert len(dataset.queries) == 70
    assert dataset.relevance["grade"].value_counts().to_dict() == graded
    assert len(dataset.images) == {"roxford5k": 4993, "rparis6k": 6322}[name]
    boxes = dataset.queries[["x0", "y0", "x1", "y1"]].to_numpy().tolist()
    assert boxes == [query["bbx"] for query in truth["gnd"]]
