"""Errors in `ground_truth.json` and `labels.csv`."""

import json

import pytest

from lrcr.errors import DatasetError

from .user_folder import make, write_truth

TRUTHS = [
    ({"queries": [{"image": "x"}]}, "query 0 names 'x', which is not under images/$"),
    (
        {"queries": [{"image": "A.png"}]},
        r"query 0 names 'A\.png', which is not under images/; did you mean '.\.png'\?$",
    ),
    (
        {"queries": [{"image": "a.png"}, {"image": "b.png", "hard": ["x"]}]},
        "query 1 names 'x', which is not under images/$",
    ),
    ({"queries": [], "database": ["x"]}, "database names 'x', which is not under images/$"),
    ({"queries": [], "database": ["a.png", "b.png", "a.png"]}, r"database contains 'a\.png' 2 times; keep one"),
    ({"queries": [], "database": []}, r"database is \[\]: list should have at least 1 item"),
    (
        {"queries": [{"image": "a.png", "easy": ["b.png"]}], "database": ["a.png"]},
        r"query 0 names 'b\.png', which is not in the database; add it there$",
    ),
    (
        {"queries": [{"image": "a.png", "easy": ["b.png"], "junk": ["b.png"]}]},
        r"query 0 names 'b\.png' as easy and as junk; keep one$",
    ),
    (
        {"queries": [{"image": "a.png", "hard": ["b.png", "b.png"]}]},
        r"query 0 names 'b\.png' as hard and as hard; keep one$",
    ),
    (
        {"queries": [{"image": "a.png", "easy": ["a.png"]}]},
        r"query 0 names its own image 'a\.png' as easy; it can only be junk$",
    ),
    (
        {"queries": [{"image": "a.png", "bbox": [0, 0, 4]}]},
        r"query 0: box \[0\.0, 0\.0, 4\.0\] is not four finite numbers",
    ),
    ({"queries": [{"image": "a.png", "bbox": []}]}, r"query 0: box \[\] is not four finite numbers"),
    (
        {"queries": [{"image": "a.png", "bbox": [0, 0, 4, float("nan")]}]},
        r"query 0: box \[.*\] is not four finite numbers; give x0",
    ),
    (
        {"queries": [{"image": "a.png", "bbox": [0, 0, 4, float("inf")]}]},
        r"query 0: box \[.*\] is not four finite numbers; give x0",
    ),
    ({"queries": [{"image": "a.png", "bbox": [4, 0, 4, 4]}]}, r"query 0: box \[4\.0, .*\] is empty; give x0"),
    (
        {"queries": [{"image": "a.png", "bbox": [0, 0, 9, 4]}]},
        r"query 0: box .* reaches outside the image \(8 × 6 pixels",
    ),
    (
        {"queries": [{"image": "a.png", "bbox": [0, 0, "4", 4]}]},
        r"query 0\.bbox\.2 is '4': input should be a valid num",
    ),
    ({"queries": [{"image": 7}]}, r"query 0\.image is 7: input should be a valid string"),
    ({"queries": [{"image": "a.png", "easy": "b.png"}]}, r"query 0\.easy is 'b\.png': input should be"),
    ({"queries": [{"easy": []}]}, r"query 0\.image: field required; correct the file$"),
    (
        {"queries": [{"image": "a.png", "esay": []}]},
        r"query 0\.esay is not a known key; use image, bbox, easy, hard, junk$",
    ),
    ({"queries": [], "databse": []}, "databse is not a known key; use database, queries$"),
    ({}, "queries: field required; correct the file$"),
    ([], r"the file is \[\]: input should be an object"),
]


@pytest.mark.parametrize(("truth", "message"), TRUTHS)
def test_wrong_ground_truth_is_refused_in_one_line(photos, truth, message):
    (photos / "ground_truth.json").write_text(json.dumps(truth))
    with pytest.raises(DatasetError, match=rf"photos/ground_truth\.json: {message}") as caught:
        make(photos)
    assert "\n" not in str(caught.value)
    assert not list((photos.parent / "data").iterdir())


def test_ground_truth_that_is_not_json_is_refused(photos):
    (photos / "ground_truth.json").write_text("{queries: []}")
    with pytest.raises(DatasetError, match=r"ground_truth\.json: invalid JSON: .* line 1 column 2; correct the file$"):
        make(photos)
    (photos / "ground_truth.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(DatasetError, match=r"ground_truth\.json: cannot be read \(.*; store it as JSON in UTF-8"):
        make(photos)


LABELS = [
    ("image;label\na.png;x\n", r"no column 'image'; write image,label as the first line$"),
    ("image,class\na.png,x\n", r"no column 'label'; write"),
    ("", r"no column 'image'; write"),
    ("image,label\na.png,x\nx.jpg,y\n", r"line 3 names 'x\.jpg', which is not under images/"),
    ("image,label\na.png\n", r"line 2: the numbers of fields and columns differ; put names with commas in quotes$"),
    ("image,label\na.png,x,y\n", r"line 2: the numbers of fields and columns differ; put names"),
    (
        "image,label\na.png,x\na.png,x\na.png,y\n",
        r"line 4 gives 'a\.png' the label 'y', an earlier line 'x'; keep one$",
    ),
    ("image,label\na.png,x\na.png,\n", r"line 3 gives 'a\.png' the label None, an earlier line 'x'; keep one$"),
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


def test_ground_truth_and_labels_may_start_with_a_byte_order_mark(photos):
    (photos / "ground_truth.json").write_text('{"queries": [{"image": "a.png"}]}', encoding="utf-8-sig")
    (photos / "labels.csv").write_text("image,label\na.png,x\n", encoding="utf-8-sig")
    dataset = make(photos)
    assert len(dataset.queries) == 1
    assert dataset.images["label"][0] == "x"


def test_the_message_says_whether_a_named_file_was_refused_or_skipped(photos):
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
