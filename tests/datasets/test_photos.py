"""The image files of a folder: accepted, refused and skipped ones."""

import logging
import os
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from lrcr.data.loading import load_batches
from lrcr.datasets import photos as photos_module
from lrcr.datasets.ground_truth import read_labels
from lrcr.datasets.photos import StoredImage, read_photos
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
    monkeypatch.setenv("LRCR_MAX_MEGAPIXELS", "0.004")
    make(photos)
    refused = facts(photos)["refused"]["bomb.png"]
    assert refused == (
        "beyond the limit of 0.004 million pixels: 64 × 64 pixels; make it smaller, or set LRCR_MAX_MEGAPIXELS"
    )


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"nowhere: no such folder; give a folder of images$"):
        make(tmp_path / "nowhere")
    (tmp_path / "photos" / "images").mkdir(parents=True)
    (tmp_path / "photos" / "images" / "bad.jpg").write_text("no picture")
    with pytest.raises(DatasetError, match=r"photos/images: no images among 1 file \(1 refused\); add images$"):
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


def test_names_in_different_normal_forms_are_one_name(photos):
    """File systems and editors write `ü` as one character or as two."""
    composed, decomposed = "M\u00fcller.png", "Mu\u0308ller.png"
    draw(photos / "images" / decomposed)
    draw(photos / "images" / "Z\u00fc\u0308rich.png")
    write_labels(
        photos, [(composed, "x"), ("a.png", "x"), (unicodedata.normalize("NFD", "Z\u00fc\u0308rich.png"), "x")]
    )
    labels = make(photos).images.set_index("path")["label"]
    assert labels[decomposed] == labels["Z\u00fc\u0308rich.png"] == "x"
    truth = [{"image": composed, "easy": ["a.png"]}, {"image": "a.png", "hard": [composed], "junk": ["b.png"]}]
    write_truth(photos, truth, database=["a.png", "b.png", composed])
    dataset = make(photos)
    assert list(dataset.images["path"]) == ["a.png", "b.png", decomposed]
    assert list(dataset.queries["path"]) == [decomposed, "a.png"]
    assert grades(dataset, 0) == {"a.png": "easy", decomposed: "junk"}
    assert grades(dataset, 1) == {"a.png": "junk", decomposed: "hard", "b.png": "junk"}
    write_truth(photos, [{"image": composed}], database=[composed, decomposed])
    with pytest.raises(DatasetError, match=r"database contains 'Mu\u0308ller\.png' 2 times; keep one"):
        make(photos)


def test_two_files_whose_names_differ_only_in_normal_form_are_two_images(photos):
    composed, decomposed = "\u1e69.png", "s\u0323\u0307.png"
    draw(photos / "images" / composed)
    draw(photos / "images" / decomposed)
    if len(list((photos / "images").glob("*\u0323*"))) != 1:
        pytest.skip("this file system has one normal form")
    write_labels(photos, [(composed, "x"), (decomposed, "y")])
    labels = make(photos).images.set_index("path")["label"]
    assert (labels[composed], labels[decomposed]) == ("x", "y")
    write_labels(photos, [("s\u0307\u0323.png", "x")])
    with pytest.raises(DatasetError, match="2 files differ only in Unicode form; rename one"):
        make(photos)


def test_suffixes_in_capitals_and_blanks_are_usual(photos):
    for name in ("DSC 0001 .JPG", " lead.Png", "a.b c.JPEG"):
        draw(photos / "images" / name)
    (photos / "images" / "BAD.AVIF").write_text("no picture")
    assert {"DSC 0001 .JPG", " lead.Png", "a.b c.JPEG"} < set(make(photos).images["path"])
    assert list(facts(photos)["refused"]) == ["BAD.AVIF"]


def test_paths_that_are_too_long_are_refused_and_others_read(photos, monkeypatch):
    deep = photos / "images" / Path(*(["d" * 250] * 14))
    draw(deep / "long.png")
    monkeypatch.chdir(deep)
    Path("e" * 250, "f" * 250).mkdir(parents=True)
    monkeypatch.chdir("e" * 250)
    monkeypatch.chdir("f" * 250)
    draw(Path("too-long.png"))
    names = read_photos(photos)
    assert str((deep / "long.png").relative_to(photos / "images")) in names.accepted
    [(name, reason)] = names.refused.items()
    assert name.startswith("d" * 250) and reason.endswith("(File name too long); rename or move it")


def test_a_hundred_thousand_files_of_one_folder_are_read(tmp_path, monkeypatch):
    names = [f"{number}.png" for number in range(100_000)]
    (tmp_path / "photos").mkdir()
    for name in names:
        os.mknod(f"{tmp_path}/photos/{name}")
    write_labels(tmp_path / "photos", [(name, name[0]) for name in names])
    image = StoredImage(8, 6, "0" * 64, (8, 6), False)
    monkeypatch.setattr(photos_module, "_inspect", lambda _, file, known: image if file.suffix == ".png" else None)
    photos = read_photos(tmp_path / "photos")
    assert len(read_labels(tmp_path / "photos" / "labels.csv", photos)) == len(photos.accepted) == 100_000


def test_a_folder_that_cannot_be_written_is_read(photos, tmp_path):
    folders = [photos, *(path for path in photos.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert len(make(photos).images) == 5
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_the_same_photo_twice_is_two_images(photos):
    contents = (photos / "images" / "a.png").read_bytes()
    (photos / "images" / "copy.png").write_bytes(contents)
    (photos / "images" / "link.png").symlink_to("a.png")
    (photos / "images" / "hard.png").hardlink_to(photos / "images" / "a.png")
    accepted = read_photos(photos).accepted
    assert len({accepted[name].sha256 for name in ("a.png", "copy.png", "link.png", "hard.png")}) == 1


def test_truncated_photos_are_taken_and_counted_if_the_params_say_so(photos, caplog):
    for number in range(2):
        file = photos / "images" / f"cut-{number}.jpg"
        Image.effect_noise((64, 64), 90).save(file)
        file.write_bytes(file.read_bytes()[:-200])
    assert list(make(photos).images["path"]) == ["a.png", "b.png", "c.png", "sub/d.png", "sub/e.png"]
    assert list(facts(photos)["refused"]) == ["cut-0.jpg", "cut-1.jpg"]
    caplog.clear()
    dataset = make(photos, tolerate_truncated=True)
    assert set(dataset.images["path"]) > {"cut-0.jpg", "cut-1.jpg"}
    assert (facts(photos)["refused"], facts(photos)["truncated"]) == ({}, ["cut-0.jpg", "cut-1.jpg"])
    assert [record.getMessage() for record in caplog.records] == [
        f"{photos / 'images'}: 2 truncated files accepted; the first: 'cut-0.jpg'"
    ]
    assert len(list(load_batches(dataset.photos(), 32, 1))) == 7


def test_a_box_is_of_the_photo_as_it_is_shown(photos):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 6)).save(photos / "images" / "a.png", exif=exif)
    write_truth(photos, [{"image": "a.png", "bbox": [0, 0, 6, 8]}])
    [batch] = load_batches(make(photos).query_photos(), 32, 1)
    assert batch.sizes == [(6, 8)]
    write_truth(photos, [{"image": "a.png", "bbox": [0, 0, 8, 6]}])
    message = r"query 0: box \[.*\] reaches outside the image \(6 × 8 pixels as shown, 8 × 6 as stored\); give it in"
    with pytest.raises(DatasetError, match=message):
        make(photos)


def test_a_region_is_of_the_photo_as_it_is_shown_and_names_it_in_any_unicode_form(photos):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 6)).save(photos / "images" / unicodedata.normalize("NFD", "é.png"), exif=exif)
    line = unicodedata.normalize("NFC", "é.png") + ",0,0,6,8,1"
    (photos / "regions.csv").write_text(f"image,x0,y0,x1,y1,score\n{line}\n", encoding="utf-8")
    dataset = make(photos)
    [region] = dataset.regions.to_numpy().tolist()
    assert dataset.images["path"][region[0]] == unicodedata.normalize("NFD", "é.png")
    assert region[1:] == [0, 0, 6, 8, 1]


def test_truncated_photos_that_were_accepted_before_are_accepted_again(photos):
    file = photos / "images" / "cut.jpg"
    Image.effect_noise((64, 64), 90).save(file)
    file.write_bytes(file.read_bytes()[:-200])
    before = read_photos(photos, tolerate_truncated=True).accepted
    assert read_photos(photos, known=before).accepted == before
    file.write_bytes(file.read_bytes()[:-1])
    assert list(read_photos(photos, known=before).refused) == ["cut.jpg"]


def test_every_image_is_hashed_once_and_progress_counts_files(photos, monkeypatch):
    hashed, progress = [], RecordedProgress()
    monkeypatch.setattr(photos_module, "hash_file", lambda file: hashed.append(file.name) or "0" * 64)

    (photos / "images" / "notes.txt").write_text("text")
    read_photos(photos, progress=progress)
    assert sorted(hashed) == ["a.png", "b.png", "c.png", "d.png", "e.png"]
    assert progress.tasks == [("reading photos", 6, 6)]
