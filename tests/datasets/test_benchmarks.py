"""Datasets made from public benchmarks: look-alikes through the real code, and the real ground truth."""

import gzip
import json
import logging
import pickle
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lrcr.datasets import contents, make
from lrcr.datasets.pickles import read_pickle
from lrcr.datasets.sources import BENCHMARKS
from lrcr.errors import DatasetError, DownloadError

from .benchmarks import build, decoded, facts, pixels
from .lookalikes import CORRUPT, google_id, photo, tar
from .server import ranged


@pytest.mark.parametrize(("name", "prefix"), [("roxford5k", "oxford"), ("rparis6k", "paris")])
def test_revisited_has_the_lists_boxes_and_grades_of_the_ground_truth(published, tmp_path, name, prefix):
    dataset = build(tmp_path, name)
    truth = pickle.loads((tmp_path / "downloads" / f"gnd_{name}.pkl").read_bytes())
    stems = [Path(path).stem for path in dataset.images["path"]]
    assert stems == truth["imlist"]
    assert [Path(path).stem for path in dataset.queries["path"]] == truth["qimlist"]
    assert dataset.queries["image"].isna().all()
    assert dataset.queries[["x0", "y0", "x1", "y1"]].to_numpy().tolist() == [[4.5, 2, 90, 71.2]] * 3
    for query, graded in enumerate(truth["gnd"]):
        rows = dataset.relevance[dataset.relevance["query"] == query]
        for grade in ("easy", "hard", "junk"):
            assert rows["image"][rows["grade"] == grade].tolist() == graded[grade]
    assert pixels(dataset.photo(stems.index(f"{prefix}_place_000012"))) == decoded(photo(1, 2))
    assert [pixels(query) for query in dataset.query_photos()] == [decoded(photo(mark, 9)) for mark in range(3)]
    assert not dataset.orient


def test_sfm120k_has_labels_pairs_and_queries(published, tmp_path):
    train = build(tmp_path, "sfm120k", "train", split="train")
    assert train.images["label"].value_counts().to_dict() == {str(mark): 4 for mark in range(400, 408)}
    assert train.pairs.to_numpy().tolist() == [[4 * i, 4 * i + 1] for i in range(8)]
    assert pixels(train.photo(5)) == decoded(photo(401, 1))
    val = build(tmp_path, "sfm120k", "val", split="val")
    assert val.images["label"].tolist() == [str(mark) for mark in range(500, 503) for _ in range(4)]
    queries = build(tmp_path, "sfm120k", "eccv", split="val_eccv20")
    assert queries.queries["image"].tolist() == [0, 4, 8]
    assert queries.relevance[queries.relevance["query"] == 1].to_numpy().tolist() == [
        [1, 5, "easy"],
        [1, 6, "easy"],
        [1, 4, "junk"],
    ]


def test_google_landmarks_has_labels_and_queries_by_usage(published, tmp_path):
    train = build(tmp_path, "gldv2", "train", split="train")
    assert train.images["label"].value_counts().to_dict() == {"0": 3, "1": 3, "2": 3, "3": 3, "4": 2}
    (refused,) = facts(tmp_path, "train")["refused"]
    assert Path(refused).stem == google_id("train 4 2")
    assert train.map_depth == 100
    public = build(tmp_path, "gldv2", "public", split="public")
    assert [pixels(query) for query in public.query_photos()] == [decoded(photo(702, 9))]
    private = build(tmp_path, "gldv2", "private", split="private")
    assert [Path(path).stem for path in private.queries["path"]] == [google_id("test 0"), google_id("test 1")]
    stems = [Path(path).stem for path in private.images["path"]]
    assert stems == [google_id(f"index {mark} {view}") for mark in range(3) for view in range(4)]
    expected = [(query, 4 * query + view, "easy") for query in range(2) for view in range(4)]
    assert list(private.relevance.itertuples(index=False, name=None)) == expected


def test_distractors_are_appended_to_the_database(published, tmp_path):
    plain = build(tmp_path, "roxford5k")
    dataset = build(tmp_path, "roxford5k", "roxford5k-1m", distractors=True)
    assert len(dataset.images) == 17 + 4
    assert dataset.images["path"][:17].tolist() == plain.images["path"].tolist()
    assert pixels(dataset.photo(20)) == decoded(photo(205, 0))
    assert dataset.relevance.equals(plain.relevance)
    assert dataset.fingerprint != plain.fingerprint


def test_a_complete_dataset_leaves_no_state_and_its_files_are_downloaded_once(published, server, tmp_path, state):
    first = build(tmp_path, "rparis6k").fingerprint
    requests = len(server.requests)
    assert build(tmp_path, "rparis6k").fingerprint == first
    assert len(server.requests) == requests
    assert list(state.iterdir()) == []
    recorded = json.loads((tmp_path / "checksums.json").read_text())
    assert set(recorded) == {"paris_1-v1.tgz", "paris_2-v1.tgz"}  # the checksum of the ground truth is pinned


def test_the_fingerprint_does_not_depend_on_the_folder_of_the_archives(published, tmp_path, monkeypatch):
    first = build(tmp_path, "gldv2", split="private").fingerprint
    (tmp_path / "downloads").rename(tmp_path / "user")
    monkeypatch.setenv("LRCR_ARCHIVES", str(tmp_path / "user"))
    monkeypatch.setenv("LRCR_DOWNLOADS", str(tmp_path / "elsewhere"))
    dataset = build(tmp_path, "gldv2", split="private")
    assert dataset.fingerprint == first
    assert dataset.root == tmp_path / "elsewhere"
    assert pixels(dataset.photo(0)) == decoded(photo(700, 0))


def test_missing_and_damaged_distractors_are_reported(published, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = build(tmp_path, "revisitop1m")
    assert [Path(path).stem for path in dataset.images["path"]] == ["d00000", "d00001", "d00003", "d00005"]
    assert dataset.queries.empty
    found = facts(tmp_path, "revisitop1m")
    assert (found["listed"], found["missing"]) == (6, 2)
    assert list(found["refused"]) == ["jpg/04/d00004.jpg"]
    assert re.fullmatch(r"cannot be read \(.*[Tt]runcated.*\); .*again", found["refused"]["jpg/04/d00004.jpg"])
    (record,) = caplog.records
    assert record.getMessage().endswith("revisitop1m.txt: 2 of 6 listed images are not in the archives")


@pytest.mark.parametrize(
    ("kind", "more", "change", "message"),
    [
        (
            "roxford5k",
            {},
            {"images": 4993},
            "roxford5k: 17 images, but the benchmark has 4993; download its files again$",
        ),
        ("rparis6k", {}, {"junk": 4}, "rparis6k: 3 junk, but the benchmark has 4;"),
        ("revisitop1m", {}, {"listed": 7}, "revisitop1m: 6 listed, but the benchmark has 7;"),
        ("sfm120k", {"split": "train"}, {"labels": 9}, "sfm120k/train: 8 labels, but the benchmark has 9;"),
        ("gldv2", {"split": "train"}, {"images": 16}, "gldv2/train: 15 images, but the benchmark has 16;"),
        ("gldv2", {"split": "public"}, {"queries": 2}, "gldv2/public: 1 queries, but the benchmark has 2;"),
    ],
)
def test_an_incomplete_benchmark_is_refused(published, tmp_path, monkeypatch, kind, more, change, message):
    name = "/".join([kind, *more.values()])
    monkeypatch.setitem(BENCHMARKS, name, replace(BENCHMARKS[name], counts={**BENCHMARKS[name].counts, **change}))
    with pytest.raises(DatasetError, match=message):
        build(tmp_path, kind, **more)
    assert [path.name for path in tmp_path.iterdir() if kind in path.name] == []


def test_a_missing_and_a_damaged_image_are_named(published, server, tmp_path, monkeypatch):
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
        DatasetError,
        match=r"names 'oxford_general_00000.', which is not in the archives \(5 such images in all\); download",
    ):
        build(tmp_path, "roxford5k")
    (tmp_path / "checksums.json").unlink()
    (tmp_path / "downloads" / "other.tar").unlink()
    with_archive(tar({**images, "oxford_general_000003.jpg": CORRUPT}))
    with pytest.raises(
        DatasetError,
        match=r"names 'oxford_general_000003', which is refused: not an image of .* \(1 such images in all\)",
    ):
        build(tmp_path, "roxford5k")


def test_after_a_kill_inspected_archives_are_not_inspected_again(published, tmp_path, monkeypatch):
    inspected = []

    def inspect(archive, *args):
        inspected.append(archive.name)
        if len(inspected) == 2:
            raise KeyboardInterrupt
        return original(archive, *args)

    original = contents._inspect_archive
    monkeypatch.setattr(contents, "_inspect_archive", inspect)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, "rparis6k")
    build(tmp_path, "rparis6k")
    assert inspected == ["paris_1-v1.tar", "paris_2-v1.tar", "paris_2-v1.tar"]


def test_a_failed_download_is_not_recorded(published, server, tmp_path, monkeypatch):
    broken = replace(published["roxford5k"].archives[0], urls=(f"{server.address}/none",))
    monkeypatch.setitem(BENCHMARKS, "roxford5k", replace(published["roxford5k"], archives=(broken,)))
    with pytest.raises(
        DownloadError, match=r"oxbuild_images-v1.tgz: cannot be downloaded \(http.*/none: status 404\); try again later"
    ):
        build(tmp_path, "roxford5k")
    assert not (tmp_path / "checksums.json").exists()
    assert not (tmp_path / "roxford5k").exists()


def test_checksums_are_recorded_in_the_working_folder_by_default():
    assert Path("checksums.json") == make.CHECKSUMS


@pytest.mark.parametrize(
    ("name", "graded", "archives"),
    [
        ("roxford5k", {"easy": 3029, "hard": 2497, "junk": 1356}, ["oxbuild_images-v1"]),
        ("rparis6k", {"easy": 6874, "hard": 10350, "junk": 7153}, ["paris_1-v1", "paris_2-v1"]),
    ],
)
def test_the_real_ground_truth_gives_the_published_counts(test_data, tmp_path, monkeypatch, name, graded, archives):
    """With the real ground truth, and a drawn image for each of its names."""
    monkeypatch.setenv("LRCR_DOWNLOADS", str(tmp_path / "downloads"))
    user_folder = tmp_path / "user"
    user_folder.mkdir()
    truth_file = test_data / "ground_truth" / f"gnd_{name}.pkl"
    shutil.copy(truth_file, user_folder)
    truth = read_pickle(truth_file)
    small, large = photo(0, 0, (16, 12)), photo(0, 1, (1024, 1024))
    images = {f"{image}.jpg": small for image in truth["imlist"]}
    images |= {f"{image}.jpg": large for image in truth["qimlist"]}
    members = list(images.items())
    for i, archive in enumerate(archives):
        contents = tar(dict(members[i :: len(archives)]))
        (user_folder / f"{archive}.tgz").write_bytes(gzip.compress(contents, 1))
    monkeypatch.setenv("LRCR_ARCHIVES", str(user_folder))
    dataset = build(tmp_path, name)
    assert len(dataset.queries) == 70
    assert dataset.relevance["grade"].value_counts().to_dict() == graded
    assert len(dataset.images) == {"roxford5k": 4993, "rparis6k": 6322}[name]
    boxes = dataset.queries[["x0", "y0", "x1", "y1"]].to_numpy().tolist()
    assert boxes == [query["bbx"] for query in truth["gnd"]]
