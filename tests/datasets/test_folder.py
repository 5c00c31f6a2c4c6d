import csv
import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lrcr.config.datasets import FolderParams
from lrcr.data.dataset import open_dataset
from lrcr.datasets import photos as photos_module
from lrcr.datasets.folder import make_folder
from lrcr.datasets.photos import read_photos
from lrcr.errors import DatasetError


@pytest.fixture
def photos(tmp_path):
    """An `images/` folder of five photos, 8 × 6 pixels."""
    path = tmp_path / "photos"
    for name in ("a.png", "b.png", "c.png", "sub/d.png", "sub/e.png"):
        draw(path / "images" / name)
    return path


def draw(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (0, len(file.name), 0)).save(file, "png")


def write_labels(path: Path, rows, columns=("image", "label")) -> None:
    with (path / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def write_truth(path: Path, queries, **more) -> None:
    (path / "ground_truth.json").write_text(json.dumps({"queries": queries, **more}), encoding="utf-8")


def make(path: Path, target: Path | None = None, progress=None):
    target = target or path.parent / "data"
    target.mkdir(exist_ok=True)
    make_folder(target, "mine", FolderParams(kind="folder", path=str(path)), **({"track": track} if track else {}))
    return open_dataset(target)


def facts(path: Path) -> dict:
    return json.loads((path.parent / "data" / "dataset.json").read_text())["facts"]


def grades(dataset, query: int) -> dict[str, str]:
    rows = dataset.relevance[dataset.relevance["query"] == query]
    return dict(zip(dataset.images["path"].iloc[rows["image"]], rows["grade"], strict=True))


def test_the_images_are_the_database_sorted_by_name(photos):
    draw(photos / "images" / "sub-a.png")
    dataset = make(photos)
    assert list(dataset.images["path"]) == ["a.png", "b.png", "c.png", "sub-a.png", "sub/d.png", "sub/e.png"]
    assert set(dataset.images["width"]) == {8}
    assert set(dataset.images["height"]) == {6}
    assert dataset.images["label"].isna().all()
    assert dataset.orient
    assert dataset.root == (photos / "images").resolve()
    assert len(dataset.queries) == len(dataset.relevance) == len(dataset.pairs) == 0
    assert facts(photos)["source"] == str(photos)


def test_sizes_are_of_the_stored_image(photos):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 6)).save(photos / "images" / "a.png", exif=exif)
    dataset = make(photos)
    assert (dataset.images["width"][0], dataset.images["height"][0]) == (8, 6)


def test_photos_directly_in_the_folder_are_named_from_there(tmp_path):
    for name in ("x.png", "deep/er/y.png", "z.png"):
        draw(tmp_path / "album" / name)
    write_labels(tmp_path / "album", [("x.png", "l"), ("deep/er/y.png", "l")])
    dataset = make(tmp_path / "album")
    assert list(dataset.images["path"]) == ["deep/er/y.png", "x.png", "z.png"]
    assert dataset.root == (tmp_path / "album").resolve()
    assert len(dataset.queries) == 2
    write_labels(tmp_path / "album", [("nowhere", "l")])
    with pytest.raises(DatasetError, match=r"labels\.csv: line 2 names 'nowhere', which is not under album/$"):
        make(tmp_path / "album")


def test_without_ground_truth_each_image_of_a_shared_label_is_a_query(photos):
    rows = [("sub/d.png", "x"), ("a.png", "x"), ("b.png", "alone"), ("c.png", ""), ("sub/e.png", "x")]
    write_labels(photos, rows)
    dataset = make(photos)
    assert list(dataset.images["label"].fillna("-")) == ["x", "alone", "-", "x", "x"]
    assert list(dataset.queries["path"]) == ["a.png", "sub/d.png", "sub/e.png"]
    assert list(dataset.queries["image"]) == [0, 3, 4]
    assert dataset.queries[["x0", "y0", "x1", "y1"]].isna().all(axis=None)
    assert grades(dataset, 1) == {"a.png": "easy", "sub/d.png": "junk", "sub/e.png": "easy"}
    assert len(dataset.relevance) == 9
    assert len(dataset.pairs) == 0


def test_ground_truth_gives_queries_boxes_and_grades(photos):
    write_truth(
        photos,
        [
            {"image": "a.png", "bbox": [0.5, 0, 8, 5.9], "easy": ["b.png"], "hard": ["sub/d.png"], "junk": []},
            {"image": "c.png", "bbox": None, "hard": ["b.png"], "junk": ["c.png", "a.png"]},
            {"image": "b.png"},
        ],
    )
    write_labels(photos, [("a.png", "x"), ("b.png", "x")])
    dataset = make(photos)
    assert list(dataset.queries["path"]) == ["a.png", "c.png", "b.png"]
    assert list(dataset.queries["image"]) == [0, 2, 1]
    assert list(dataset.queries.loc[0, ["x0", "y0", "x1", "y1"]]) == [0.5, 0, 8, 5.9]
    assert dataset.queries.loc[1, ["x0", "y0", "x1", "y1"]].isna().all()
    assert grades(dataset, 0) == {"b.png": "easy", "sub/d.png": "hard", "a.png": "junk"}
    assert grades(dataset, 1) == {"b.png": "hard", "c.png": "junk", "a.png": "junk"}
    assert grades(dataset, 2) == {"b.png": "junk"}
    assert dataset.images["label"].notna().sum() == 2


def test_the_database_keeps_its_given_order_and_a_query_may_stay_outside(photos):
    write_truth(photos, [{"image": "a.png", "easy": ["c.png"]}], database=["sub/e.png", "c.png"])
    dataset = make(photos)
    assert list(dataset.images["path"]) == ["sub/e.png", "c.png"]
    assert dataset.queries["image"].isna().all()
    assert grades(dataset, 0) == {"c.png": "easy"}


def test_ground_truth_and_labels_may_start_with_a_byte_order_mark(photos):
    (photos / "ground_truth.json").write_text('{"queries": [{"image": "a.png"}]}', encoding="utf-8-sig")
    (photos / "labels.csv").write_text("image,label\na.png,x\n", encoding="utf-8-sig")
    dataset = make(photos)
    assert len(dataset.queries) == 1
    assert dataset.images["label"][0] == "x"


TRUTHS = [
    ({"queries": [{"image": "x"}]}, "query 0 names 'x', which is not under images/$"),
    (
        {"queries": [{"image": "A.png"}]},
        r"query 0 names 'A\.png', which is not under images/; did you mean '.\.png'\?$",
    ),
    (
        {"queries": [{"image": "a.png"}, {"image": "b.png", "hard": ["x"]}]},
        "query 1 names 'x', which is not under images/",
    ),
    ({"queries": [], "database": ["x"]}, "database names 'x', which is not under images/"),
    ({"queries": [], "database": ["a.png", "b.png", "a.png"]}, r"database names 'a\.png' 2 times; keep one"),
    ({"queries": [], "database": []}, r"database holds \[\]: list should have at least 1 item"),
    (
        {"queries": [{"image": "a.png", "easy": ["b.png"]}], "database": ["a.png"]},
        r"'b\.png', which is not in the database",
    ),
    (
        {"queries": [{"image": "a.png", "easy": ["b.png"], "junk": ["b.png"]}]},
        r"'b\.png' as easy and as junk; keep one",
    ),
    ({"queries": [{"image": "a.png", "hard": ["b.png", "b.png"]}]}, r"'b\.png' as hard and as hard; keep one"),
    (
        {"queries": [{"image": "a.png", "easy": ["a.png"]}]},
        r"query 0 names its own image 'a\.png' as easy; it can only be",
    ),
    (
        {"queries": [{"image": "a.png", "bbox": [0, 0, 4]}]},
        r"query 0: box \[0\.0, 0\.0, 4\.0\] is not four finite numbers",
    ),
    ({"queries": [{"image": "a.png", "bbox": []}]}, r"query 0: box \[\] is not four finite numbers"),
    ({"queries": [{"image": "a.png", "bbox": [0, 0, 4, float("nan")]}]}, "is not four finite numbers; give x0"),
    ({"queries": [{"image": "a.png", "bbox": [0, 0, 4, float("inf")]}]}, "is not four finite numbers; give x0"),
    ({"queries": [{"image": "a.png", "bbox": [4, 0, 4, 4]}]}, r"query 0: box \[4\.0, .*\] is empty; give x0"),
    (
        {"queries": [{"image": "a.png", "bbox": [0, 0, 9, 4]}]},
        r"query 0: box .* reaches outside the image \(8 × 6 pixels",
    ),
    (
        {"queries": [{"image": "a.png", "bbox": [0, 0, "4", 4]}]},
        r"query 0\.bbox\.2 holds '4': input should be a valid num",
    ),
    ({"queries": [{"image": 7}]}, r"query 0\.image holds 7: input should be a valid string"),
    ({"queries": [{"image": "a.png", "easy": "b.png"}]}, r"query 0\.easy holds 'b\.png': input should be"),
    ({"queries": [{"easy": []}]}, r"query 0\.image: field required; mend it there"),
    (
        {"queries": [{"image": "a.png", "esay": []}]},
        r"query 0\.esay is not a known key; use image, bbox, easy, hard, junk",
    ),
    ({"queries": [], "databse": []}, "databse is not a known key; use database, queries"),
    ({}, "queries: field required; mend it there"),
    ([], r"the file holds \[\]: input should be an object"),
]


@pytest.mark.parametrize(("truth", "message"), TRUTHS)
def test_wrong_ground_truth_is_refused_in_one_line(photos, truth, message):
    (photos / "ground_truth.json").write_text(json.dumps(truth))
    with pytest.raises(DatasetError, match=rf"photos/ground_truth\.json: .*{message}") as caught:
        make(photos)
    assert "\n" not in str(caught.value)
    assert not list((photos.parent / "data").iterdir())


def test_ground_truth_that_is_not_json_is_refused(photos):
    (photos / "ground_truth.json").write_text("{queries: []}")
    with pytest.raises(DatasetError, match=r"ground_truth\.json: invalid JSON: .* line 1 column 2; mend it there"):
        make(photos)
    (photos / "ground_truth.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(DatasetError, match=r"ground_truth\.json: cannot be read \(.*; store it as JSON in UTF-8"):
        make(photos)


LABELS = [
    ("image;label\na.png;x\n", r"no column 'image'; let the first line be image,label"),
    ("image,class\na.png,x\n", r"no column 'label'"),
    ("", r"no column 'image'"),
    ("image,label\na.png,x\nx.jpg,y\n", r"line 3 names 'x\.jpg', which is not under images/"),
    ("image,label\na.png\n", r"line 2: not as many fields as columns; put names with commas in quotes"),
    ("image,label\na.png,x,y\n", r"line 2: not as many fields as columns"),
    ("image,label\na.png,x\na.png,x\na.png,y\n", r"line 4 labels 'a\.png' 'y', an earlier line 'x'; keep one"),
    ("image,label\na.png,x\na.png,\n", r"line 3 labels 'a\.png' None, an earlier line 'x'"),
    ('image,label\n"a.png"x,y\n', r"cannot be read \(.*\); store it as CSV in UTF-8"),
]


@pytest.mark.parametrize(("text", "message"), LABELS)
def test_wrong_labels_are_refused(photos, text, message):
    (photos / "labels.csv").write_text(text)
    with pytest.raises(DatasetError, match=rf"photos/labels\.csv: {message}"):
        make(photos)


def test_labels_in_another_encoding_are_refused(photos):
    (photos / "labels.csv").write_bytes("image,label\na.png,Café\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"labels\.csv: cannot be read \(.*utf-8.*; store it as CSV in UTF-8"):
        make(photos)


def test_files_that_are_no_images_are_skipped_and_bad_ones_refused(photos, caplog):
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
    reasons = ["cannot be read (image file is trunc", "an empty file", "not a regular file", "not an image of a known"]
    assert all(map(str.startswith, found["refused"].values(), reasons))
    assert [record.getMessage() for record in caplog.records] == [
        f"{images}: 4 files refused; the first: 'cut': {found['refused']['cut']}"
    ]


def test_a_name_that_was_refused_is_said_to_be(photos):
    (photos / "images" / "bad.jpg").write_text("no picture")
    (photos / "images" / "notes.txt").write_text("text")
    write_truth(photos, [{"image": "a.png", "easy": ["bad.jpg"]}])
    with pytest.raises(
        DatasetError, match=r"query 0 names 'bad\.jpg', which was refused: not an image of a known form"
    ):
        make(photos)
    write_truth(photos, [{"image": "notes.txt"}])
    with pytest.raises(
        DatasetError, match=r"query 0 names 'notes\.txt', which is hidden or not an image; leave it out"
    ):
        make(photos)


def test_a_decompression_bomb_is_refused(photos, monkeypatch):
    Image.new("RGB", (64, 64)).save(photos / "images" / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    make(photos)
    assert facts(photos)["refused"]["bomb.png"].startswith("beyond the decompression-bomb limit")


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="nowhere: no such folder; name a folder of images"):
        make(tmp_path / "nowhere")
    (tmp_path / "photos" / "images").mkdir(parents=True)
    (tmp_path / "photos" / "images" / "bad.jpg").write_text("no picture")
    with pytest.raises(DatasetError, match=r"photos/images: no images among 1 files \(1 refused\); put images there"):
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


def test_odd_names_work_or_are_refused(photos):
    odd = ["with space.png", "comma,name.png", "new\nline.png", "Ünïcode 図.png", "quote'\".png", "A.png"]
    for name in odd:
        draw(photos / "images" / name)
    wrong = os.fsdecode(b"latin-\xe9.png")
    try:
        draw(photos / "images" / wrong)
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    write_labels(photos, [(name, "odd") for name in odd])
    write_truth(photos, [{"image": odd[0], "easy": odd[1:]}])
    dataset = make(photos)
    assert set(odd) <= set(dataset.images["path"])
    assert (dataset.images["label"] == "odd").sum() == len(odd)
    assert grades(dataset, 0) == {odd[0]: "junk", **dict.fromkeys(odd[1:], "easy")}
    assert facts(photos)["refused"] == {r"latin-\xe9.png": "its name is not UTF-8; rename it"}


def test_the_same_folder_gives_the_same_dataset_wherever_it_lies(photos, tmp_path):
    write_labels(photos, [("a.png", "x"), ("b.png", "x")])
    first = make(photos, tmp_path / "first")
    moved = photos.rename(tmp_path / "moved")
    second = make(moved, tmp_path / "second")
    assert first.fingerprint == second.fingerprint
    for table in ("images", "queries", "relevance", "pairs"):
        stored = [(tmp_path / run / f"{table}.parquet").read_bytes() for run in ("first", "second")]
        assert stored[0] == stored[1]
    with Image.open(moved / "images" / "a.png") as image:
        image.putpixel((3, 3), (1, 2, 3))
        image.save(moved / "images" / "a.png")
    assert make(moved, tmp_path / "third").fingerprint != first.fingerprint


def test_the_users_folder_is_not_written(photos):
    def state():
        return {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in photos.rglob("*")}

    before = state()
    make(photos)
    assert state() == before


def test_every_file_is_tracked_hashed_once(photos, monkeypatch):
    hashed, tracked = [], []
    monkeypatch.setattr(photos_module, "hash_file", lambda file: hashed.append(file.name) or "0" * 64)

    def progress.over(items, description, total=None):
        tracked.append((description, total))
        return items

    (photos / "images" / "notes.txt").write_text("text")
    read_photos(photos, progress=progress)
    assert sorted(hashed) == ["a.png", "b.png", "c.png", "d.png", "e.png"]
    assert tracked == [("reading photos", 6)]


def test_the_real_photos(test_data, tmp_path):
    dataset = make(test_data / "photos", tmp_path)
    truth = json.loads((test_data / "photos" / "ground_truth.json").read_text())
    assert len(dataset.images) == 333
    assert list(dataset.images["path"]) == truth["database"]
    assert dataset.images["label"].notna().sum() == 200
    assert dataset.images["label"].nunique() == 32
    assert len(dataset.queries) == 76
    assert np.array_equal(dataset.images["path"].iloc[dataset.queries["image"]], dataset.queries["path"])
    assert dict(dataset.relevance["grade"].value_counts()) == {"hard": 442, "easy": 244, "junk": 76}
    for number, query in enumerate(truth["queries"]):
        listed = {name: grade for grade in ("easy", "hard", "junk") for name in query[grade]}
        assert grades(dataset, number) == listed
