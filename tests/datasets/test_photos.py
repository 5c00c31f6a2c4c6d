"""The image files of a folder: accepted, refused and skipped ones."""

import logging
import os
import re
from pathlib import Path

import pytest
from PIL import Image

from lrcr.datasets import photos as photos_module
from lrcr.datasets.photos import read_photos
from lrcr.errors import DatasetError

from .progress import RecordedProgress
from .user_folder import draw, facts, grades, make, write_labels, write_truth


def test_other_files_are_skipped_and_damaged_images_refused(photos, caplog):
    images = photos / "images"
    draw(images / "by-content")
    for name in ("notes.txt", "data.csv", ".DS_Store", "noext"):
        (images / name).write_text("text")
    draw(images / ".hidden.png")
    draw(images / ".thumbnails" / "a.png")
    (images / "empty.jpg").write_bytes(b"")
    (images / "text.JPG").write_text("no picture")
    Image.effect_noise((64, 64), 90).save(images / "whole.jpg")
    (images / "cut").write_bytes((images / "whole.jpg").read_bytes()[:800])
    (images / "link.png").symlink_to("nowhere")
    with caplog.at_level(logging.WARNING):
        dataset = make(photos)
    assert list(dataset.images["path"][:3]) == ["a.png", "b.png", "by-content"]
    assert len(dataset.images) == 7
    found = facts(photos)
    assert found["skipped"] == 5
    assert list(found["refused"]) == ["cut", "empty.jpg", "link.png", "text.JPG"]
    reasons = [
        "cannot be read (image file is truncated (",
        "an empty file (0 bytes); copy it again",
        "not a regular file: a broken link, a pipe or a folder that cannot be listed",
        "not an image of a known format; convert it to one of JPEG, PNG, WEBP, BMP, TIFF, GIF",
    ]
    for refused, reason in zip(found["refused"].values(), reasons, strict=True):
        assert refused.startswith(reason)
    assert [record.getMessage() for record in caplog.records] == [
        f"{images}: 4 files refused; the first: 'cut': {found['refused']['cut']}"
    ]


def test_a_decompression_bomb_is_refused(photos, monkeypatch):
    Image.new("RGB", (64, 64)).save(photos / "images" / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    make(photos)
    refused = facts(photos)["refused"]["bomb.png"]
    assert re.fullmatch(r"beyond the decompression-bomb limit \(.*4096 pixels.*\); make it smaller", refused)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere: no such folder; give a folder of images$"):
        make(tmp_path / "nowhere")
    (tmp_path / "photos" / "images").mkdir(parents=True)
    (tmp_path / "photos" / "images" / "bad.jpg").write_text("no picture")
    with pytest.raises(DatasetError, match=r"photos/images: no images among 1 files \(1 refused\); add images$"):
        make(tmp_path / "photos")


def test_links_are_followed_and_loops_end(photos, tmp_path):
    draw(tmp_path / "elsewhere" / "f.png")
    images = photos / "images"
    (images / "linked").symlink_to(tmp_path / "elsewhere")
    (images / "g.png").symlink_to(tmp_path / "elsewhere" / "f.png")
    (images / "sub" / "up").symlink_to(images)
    (images / "self").symlink_to("self")
    dataset = make(photos)
    assert list(dataset.images["path"][3:]) == ["g.png", "linked/f.png", "sub/d.png", "sub/e.png"]
    assert list(facts(photos)["refused"]) == ["self"]


def test_pipes_and_folders_that_cannot_be_listed_are_refused(photos, monkeypatch):
    os.mkfifo(photos / "images" / "pipe.jpg")
    list_folder = Path.iterdir

    def deny(path):
        if path.name == "sub":
            raise PermissionError(13, "Permission denied")
        return list_folder(path)

    monkeypatch.setattr(Path, "iterdir", deny)
    make(photos)
    assert list(facts(photos)["refused"]) == ["pipe.jpg", "sub"]


def test_unusual_names_are_accepted_and_names_that_are_not_utf8_refused(photos):
    unusual = ["with space.png", "comma,name.png", "new\nline.png", "Ünïcode 図.png", "quote'\".png", "A.png"]
    for name in unusual:
        draw(photos / "images" / name)
    wrong = os.fsdecode(b"latin-\xe9.png")
    try:
        draw(photos / "images" / wrong)
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    write_labels(photos, [(name, "unusual") for name in unusual])
    write_truth(photos, [{"image": unusual[0], "easy": unusual[1:]}])
    dataset = make(photos)
    assert set(unusual) <= set(dataset.images["path"])
    assert (dataset.images["label"] == "unusual").sum() == len(unusual)
    assert grades(dataset, 0) == {unusual[0]: "junk", **dict.fromkeys(unusual[1:], "easy")}
    assert facts(photos)["refused"] == {r"latin-\xe9.png": "its name is not UTF-8; rename it"}


def test_every_image_is_hashed_once_and_progress_counts_files(photos, monkeypatch):
    hashed, progress = [], RecordedProgress()
    monkeypatch.setattr(photos_module, "hash_file", lambda file: hashed.append(file.name) or "0" * 64)

    (photos / "images" / "notes.txt").write_text("text")
    read_photos(photos, progress=progress)
    assert sorted(hashed) == ["a.png", "b.png", "c.png", "d.png", "e.png"]
    assert progress.tasks == [("reading photos", 6, 6)]
