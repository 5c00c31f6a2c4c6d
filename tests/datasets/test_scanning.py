"""Tasks of an array job read the photos of a folder, and the images of archives; a last run makes the dataset."""

import os
from pathlib import Path

import pytest

from lrcr.config.datasets import DatasetParams, FolderParams, GoogleParams, SyntheticParams
from lrcr.datasets import contents, scanning
from lrcr.datasets.make import make_dataset
from lrcr.datasets.photos import read_photos
from lrcr.errors import DatasetError, ParamsError, ShareMade

from .user_folder import draw

FOLDER = "mine"


def make(folder: Path, params: DatasetParams) -> dict[str, bytes]:
    make_dataset(FOLDER, params, folder / FOLDER, seed=0, checksums=folder / "checksums.json")
    return {file.name: file.read_bytes() for file in (folder / FOLDER).iterdir()}


def make_shares(folder: Path, params: DatasetParams, monkeypatch, *shares: str) -> None:
    for share in shares:
        monkeypatch.setenv("LRCR_SHARD", share)
        with pytest.raises(ShareMade):
            make(folder, params)
        assert not (folder / FOLDER).exists() and not list(folder.glob(".mine*"))
    monkeypatch.delenv("LRCR_SHARD")


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(scanning, "_SHARD", 2)


@pytest.fixture
def mixed(photos) -> FolderParams:
    """Five images, one of which is damaged, and files that are none."""
    (photos / "images" / "b.png").write_bytes(b"")
    (photos / "images" / "notes.txt").write_text("text")
    (photos / "images" / os.fsdecode(b"\xff.txt")).write_text("text")
    draw(photos / "images" / os.fsdecode(b"\xfe.png"))
    return FolderParams(kind="folder", path=str(photos))


def test_shares_and_a_last_run_make_the_dataset(tmp_path, monkeypatch, mixed, state, small_shards):
    expected = make(tmp_path / "whole", mixed)
    assert not list(state.iterdir()), "without an array job nothing is stored"
    make_shares(tmp_path, mixed, monkeypatch, "1/2", "0/2")
    monkeypatch.setattr(scanning, "inspect_photos", None)
    monkeypatch.setattr(scanning, "read_photos", None)
    assert make(tmp_path, mixed) == expected
    assert not list(state.iterdir())


def test_the_last_run_reads_what_a_lost_task_has_not_read(tmp_path, monkeypatch, mixed, state, small_shards):
    expected = make(tmp_path / "whole", mixed)
    make_shares(tmp_path, mixed, monkeypatch, "1/3")
    assert [file.name for file in state.rglob("*.json")] == ["shard-00001.json"]
    assert make(tmp_path, mixed) == expected
    assert not list(state.iterdir())


def test_a_folder_that_has_changed_is_read_again(tmp_path, monkeypatch, photos, state, small_shards):
    params = FolderParams(kind="folder", path=str(photos))
    make_shares(tmp_path, params, monkeypatch, "0/2", "1/2")
    draw(photos / "images" / "new.png")
    assert list(scanning.scan_photos(photos, tolerate_truncated=False).accepted) == list(read_photos(photos).accepted)
    assert len(make(tmp_path, params)) and len(list(state.iterdir())) == 1, "the shards of the old state stay"


def test_a_folder_without_images_is_refused_after_the_shares(tmp_path, monkeypatch, photos, small_shards):
    for file in (photos / "images").rglob("*.png"):
        file.write_bytes(b"")
    params = FolderParams(kind="folder", path=str(photos))
    make_shares(tmp_path, params, monkeypatch, "0/2", "1/2")
    with pytest.raises(DatasetError, match=r"images: no images among 5 files \(5 refused\); add images"):
        make(tmp_path, params)


def test_tasks_share_archives(tmp_path, monkeypatch, published, state):
    params = GoogleParams(kind="gldv2", split="public")
    expected = make(tmp_path / "whole", params)
    archives = len(published["gldv2/public"].archives)
    make_shares(tmp_path, params, monkeypatch, "0/2")
    assert len(list(state.rglob("*.parquet"))) == -(-archives // 2)
    make_shares(tmp_path, params, monkeypatch, "1/2")
    assert len(list(state.rglob("*.parquet"))) == archives
    monkeypatch.setattr(contents, "_inspect_archive", None)
    assert make(tmp_path, params) == expected
    assert not list(state.iterdir())


def test_a_synthetic_dataset_has_no_shares(tmp_path, monkeypatch):
    monkeypatch.setenv("LRCR_SHARD", "0/2")
    params = SyntheticParams(kind="synthetic", split="eval", landmarks=1, images=2)
    with pytest.raises(ParamsError, match=r"^LRCR_SHARD: a synthetic dataset cannot be made in shares"):
        make(tmp_path, params)
