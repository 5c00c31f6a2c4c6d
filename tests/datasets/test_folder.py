"""The tables of a dataset made from a folder of photos."""

import json

import numpy as np
import pytest
from PIL import Image

from lrcr.errors import DatasetError

from .user_folder import draw, facts, grades, make, write_labels, write_truth


def test_the_database_is_all_images_sorted_by_name(photos):
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


def test_sizes_are_of_the_image_as_it_is_shown(photos):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (8, 6)).save(photos / "images" / "a.png", exif=exif)
    dataset = make(photos)
    assert (dataset.images["width"][0], dataset.images["height"][0]) == (6, 8)


def test_names_are_relative_to_the_folder_if_it_has_no_folder_images(tmp_path):
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


def test_without_ground_truth_each_image_that_shares_its_label_is_a_query(photos):
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
    assert list(dataset.images["label"].fillna("-")) == ["x", "x", "-", "-", "-"]


def test_the_database_keeps_its_order_and_need_not_contain_the_queries(photos):
    write_truth(photos, [{"image": "a.png", "easy": ["c.png"]}], database=["sub/e.png", "c.png"])
    dataset = make(photos)
    assert list(dataset.images["path"]) == ["sub/e.png", "c.png"]
    assert dataset.queries["image"].isna().all()
    assert grades(dataset, 0) == {"c.png": "easy"}


def write_regions(photos, *lines):
    (photos / "regions.csv").write_text("\n".join(["image,x0,y0,x1,y1,score", *lines]))


def test_regions_are_those_of_images_of_the_database(photos):
    assert make(photos).regions.empty
    plain = make(photos).fingerprint
    write_regions(photos, "sub/d.png,0,1,7.5,6,0.5", "a.png,0,0,4,4,0.25", "sub/d.png,2,2,4,4,1")
    dataset = make(photos)
    assert dataset.regions.to_numpy().tolist() == [[0, 0, 0, 4, 4, 0.25], [3, 0, 1, 7.5, 6, 0.5], [3, 2, 2, 4, 4, 1]]
    assert dataset.fingerprint == plain, "nothing is trained again for regions"
    write_truth(photos, [], database=["b.png", "sub/d.png"])
    assert make(photos).regions["image"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("x.png,0,0,4,4,1", r"line 2 names 'x\.png', which is not under images/"),
        ("a.png,0,0,9,4,1", r"line 2: box .* reaches outside the image \(8 × 6 pixels as shown, 8 × 6 as stored\)"),
        ("a.png,0,0,0,4,1", r"line 2: box .* is empty"),
        ("a.png,0,0,4,4,high", r"line 2: could not convert string to float: 'high'; write numbers"),
        ("a.png,0,0,4", r"line 2: the numbers of fields and columns differ"),
        ("a.png,0,0,4,4,nan", r"regions\.parquet: row 0: box .* with score nan is no region of image 0"),
    ],
)
def test_regions_that_do_not_fit_are_refused(photos, line, message):
    write_regions(photos, line)
    with pytest.raises(DatasetError, match=message):
        make(photos)


def test_the_dataset_does_not_depend_on_the_path_of_the_folder(photos, tmp_path):
    write_labels(photos, [("a.png", "x"), ("b.png", "x")])
    first = make(photos, tmp_path / "first")
    moved = photos.rename(tmp_path / "moved")
    second = make(moved, tmp_path / "second")
    assert first.fingerprint == second.fingerprint
    for table in ("images", "queries", "relevance", "pairs"):
        files = [tmp_path / run / f"{table}.parquet" for run in ("first", "second")]
        assert files[0].read_bytes() == files[1].read_bytes()
    with Image.open(moved / "images" / "a.png") as image:
        image.putpixel((3, 3), (1, 2, 3))
        image.save(moved / "images" / "a.png")
    assert make(moved, tmp_path / "third").fingerprint != first.fingerprint


def test_the_users_folder_is_not_written(photos):
    def state():
        return {file: (file.stat().st_mtime_ns, file.stat().st_size) for file in (photos, *photos.rglob("*"))}

    before = state()
    make(photos)
    assert state() == before


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
