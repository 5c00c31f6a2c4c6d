import json
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from PIL import Image

from lrcr.data.dataset import (
    DESCRIPTION,
    ArchivedImage,
    Photo,
    empty_table,
    leave_one_out,
    open_dataset,
    write_dataset,
)
from lrcr.data.images import load_image
from lrcr.datasets.archives import list_members
from lrcr.errors import ArtifactError, DatasetError, ImageError
from lrcr.storage.artifacts import Manifest, hash_file, write_json

NAN = float("nan")


def tables() -> dict[str, pd.DataFrame]:
    return {
        "images": pd.DataFrame(
            {
                "image": [0, 1, 2],
                "path": ["a.jpg", "sub/b.jpg", "c.jpg"],
                "width": [4, 5, 6],
                "height": [7, 8, 9],
                "label": ["x", None, "x"],
                "mask": [None, None, "masks/c.png"],
            }
        ),
        "queries": pd.DataFrame(
            {
                "query": [0, 1],
                "path": ["a.jpg", "elsewhere/q.jpg"],
                "x0": [0.5, NAN],
                "y0": [1.0, NAN],
                "x1": [3.0, NAN],
                "y1": [4.25, NAN],
                "image": [0, None],
            }
        ),
        "relevance": pd.DataFrame(
            {"query": [0, 0, 1, 1], "image": [0, 2, 1, 2], "grade": ["junk", "easy", "hard", "easy"]}
        ),
        "pairs": pd.DataFrame({"query": [0, 2], "positive": [2, 0]}),
    }


def write(folder: Path, root: Path | None = None, **changed: object) -> Path:
    folder.mkdir(exist_ok=True)
    settings: dict = {
        "name": "small",
        "kind": "drawn",
        "params": {"seed": 1},
        "root": root or folder,
        "orient": True,
        "contents": "abc",
        "licence": "none",
        "tables": tables(),
    }
    write_dataset(folder, **{**settings, **changed})
    return folder


def test_round_trip(tmp_path):
    dataset = open_dataset(write(tmp_path / "data"))
    assert (dataset.name, dataset.orient) == ("small", True)
    for name, table in tables().items():
        found = getattr(dataset, name)
        assert_frame_equal(found[list(table)], table, check_dtype=False)
        assert found.drop(columns=list(table)).isna().all(axis=None)
    assert str(dataset.queries["image"].dtype) == "Int64"
    assert dataset.images["label"].isna().tolist() == [False, True, False]


def test_photos_have_path_box_and_orientation(tmp_path):
    root = tmp_path / "photos"
    dataset = open_dataset(write(tmp_path / "data", root))
    assert dataset.photos()[1] == Photo(root / "sub/b.jpg", None, True)
    assert dataset.query_photos() == [
        Photo(root / "a.jpg", (0.5, 1.0, 3.0, 4.25), True),
        Photo(root / "elsewhere/q.jpg", None, True),
    ]


def test_images_are_read_from_archives(tmp_path):
    drawn = [Image.new("RGB", (8, 6), (50 * i, 0, 0)) for i in range(4)]
    archive = tmp_path / "root" / "deep" / "photos.tar"
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w") as tar:
        for i, image in enumerate(drawn[:3]):
            image.save(tmp_path / f"{i}.png")
            tar.add(tmp_path / f"{i}.png", f"in/{i}.png")
    drawn[3].save(tmp_path / "root" / "c.jpg", "png")
    members = list_members(archive)
    images, queries = tables()["images"], tables()["queries"]
    places = {"archive": "deep/photos.tar", "offset": [m.offset for m in members], "bytes": [m.bytes for m in members]}
    images = images.assign(path=[m.name for m in members], **places)
    images.loc[2, ["path", "archive", "offset", "bytes"]] = ["c.jpg", None, None, None]
    queries = queries.assign(archive=[None, "deep/photos.tar"], offset=[None, members[2].offset], bytes=[None, 0])
    queries.loc[1, "bytes"] = members[2].bytes
    changed = {**tables(), "images": images, "queries": queries}
    dataset = open_dataset(write(tmp_path / "data", tmp_path / "root", tables=changed))
    photos = [*dataset.photos(), dataset.query_photos()[1]]
    for photo, expected in zip(photos, (drawn[0], drawn[1], drawn[3], drawn[2]), strict=True):
        assert load_image(photo.path, orient=False).pixels == expected
    assert [dataset.photo(i) for i in range(3)] == dataset.photos()
    assert dataset.photo(1).path == ArchivedImage(archive, "in/1.png", members[1].offset, members[1].bytes)
    assert dataset.photo(2).path == tmp_path / "root" / "c.jpg"
    archive.write_bytes(archive.read_bytes()[: members[1].offset + 5])
    with pytest.raises(ImageError, match=r"photos.tar: in/1.png: cannot be read \(the archive ends before byte \d+\)"):
        load_image(photos[1].path, orient=False)
    archive.unlink()
    with pytest.raises(ImageError, match=r"photos.tar: in/0.png: cannot be read \(No such file or directory\)"):
        load_image(photos[0].path, orient=False)


def test_a_dataset_that_contains_its_images_can_be_moved(tmp_path):
    write(tmp_path / "data", tmp_path / "data" / "images")
    (tmp_path / "data").rename(tmp_path / "moved")
    assert open_dataset(tmp_path / "moved").root == tmp_path / "moved" / "images"


def test_images_elsewhere_are_found_from_any_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path("data"), Path("photos"))
    assert open_dataset(Path("data")).root == tmp_path / "photos"


def test_missing_tables_are_empty(tmp_path):
    dataset = open_dataset(write(tmp_path / "data", tables={"images": tables()["images"]}))
    for table in ("queries", "relevance", "pairs"):
        assert_frame_equal(getattr(dataset, table), empty_table(table))
    assert dataset.query_photos() == []


def test_a_table_without_masks_has_none(tmp_path):
    images = tables()["images"].drop(columns="mask")
    folder = write(tmp_path / "data", tables={"images": images})
    assert open_dataset(folder).images["mask"].isna().all()
    images.to_parquet(folder / "images.parquet")
    stored = json.loads((folder / DESCRIPTION).read_text())
    inputs = {**stored["inputs"], "images": hash_file(folder / "images.parquet")}
    write_json(folder / DESCRIPTION, Manifest("dataset", stored["params"], inputs, stored["facts"]).as_dict())
    assert open_dataset(folder).images["mask"].isna().all()


def test_a_dataset_without_images_can_be_opened(tmp_path):
    dataset = open_dataset(write(tmp_path / "data", tables={}))
    assert dataset.photos() == []
    assert_frame_equal(dataset.images, empty_table("images"))


def test_the_description_contains_counts_and_facts(tmp_path):
    write(tmp_path / "data", facts={"refused": 3})
    facts = json.loads((tmp_path / "data" / DESCRIPTION).read_text())["facts"]
    assert facts["counts"] == {"images": 3, "queries": 2, "relevance": 4, "pairs": 2}
    assert (facts["refused"], facts["licence"], facts["root"]) == (3, "none", ".")


def test_the_fingerprint_depends_on_contents_params_and_name_only(tmp_path):
    def identity(number: int, **changed: object) -> str:
        return open_dataset(write(tmp_path / str(number), **changed)).fingerprint

    first = identity(0)
    assert identity(1) == first == identity(2, facts={"rate": 9}, root=tmp_path)
    less = {**tables(), "relevance": tables()["relevance"][:-1]}
    changes = [{"contents": "abd"}, {"tables": less}, {"params": {"seed": 2}}, {"name": "other"}]
    assert len({first, *(identity(3 + i, **change) for i, change in enumerate(changes))}) == 5


@pytest.mark.parametrize("table", ["images", "queries", "relevance", "pairs"])
def test_damaged_and_missing_tables_are_refused(tmp_path, table):
    path = write(tmp_path / "data") / f"{table}.parquet"
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    message = rf"{table}\.parquet: missing or altered since it was made; make the dataset again"
    for damage in (lambda: path.write_bytes(contents), path.unlink):
        damage()
        with pytest.raises(ArtifactError, match=message):
            open_dataset(tmp_path / "data")


def test_a_table_of_another_dataset_is_refused(tmp_path):
    write(tmp_path / "data")
    other = write(tmp_path / "other", tables={**tables(), "pairs": empty_table("pairs")})
    (other / "pairs.parquet").rename(tmp_path / "data" / "pairs.parquet")
    with pytest.raises(
        ArtifactError, match=r"pairs\.parquet: missing or altered since it was made; make the dataset again"
    ):
        open_dataset(tmp_path / "data")


def test_a_missing_dataset_and_an_altered_description_are_refused(tmp_path):
    with pytest.raises(ArtifactError, match=rf"{DESCRIPTION}: no such file"):
        open_dataset(tmp_path)
    path = write(tmp_path / "data") / DESCRIPTION
    stored = json.loads(path.read_text())
    write_json(path, {**stored, "params": {}})
    with pytest.raises(ArtifactError, match="its fingerprint does not fit its contents"):
        open_dataset(tmp_path / "data")


@pytest.mark.parametrize(
    ("table", "column", "values", "message"),
    [
        ("images", "image", [0, 2, 1], r"images.parquet: ids are not 0, 1, 2, …; make the dataset again"),
        ("images", "image", [1, 2, 3], r"images.parquet: ids are not 0, 1, 2, …"),
        ("queries", "query", [0, 0], r"queries.parquet: ids are not 0, 1, 2, …"),
        ("queries", "image", [0, 3], r"queries.parquet: image 3 does not exist (0…2)"),
        ("queries", "image", [-1, None], r"queries.parquet: image -1 does not exist (0…2)"),
        ("relevance", "query", [0, 0, 1, 2], r"relevance.parquet: query 2 does not exist (0…1)"),
        ("relevance", "image", [0, 1, 2, 3], r"relevance.parquet: image 3 does not exist (0…2)"),
        ("relevance", "image", [0, 1, 2, -3], r"relevance.parquet: image -3 does not exist (0…2)"),
        (
            "relevance",
            "grade",
            ["easy", "good", "hard", "easy"],
            "relevance.parquet: grade 'good'; use easy, hard, junk",
        ),
        ("pairs", "query", [0, 3], r"pairs.parquet: query 3 does not exist (0…2)"),
        ("pairs", "positive", [-1, 0], r"pairs.parquet: positive -1 does not exist (0…2)"),
    ],
)
def test_inconsistent_tables_are_refused(tmp_path, table, column, values, message):
    changed = tables()
    changed[table][column] = values
    with pytest.raises(DatasetError) as error:
        write(tmp_path / "data", tables=changed)
    assert str(error.value).startswith(f"small: {message}")


@given(st.lists(st.sampled_from(["a", "b", "c", "A", "", None]), max_size=12))
def test_leave_one_out_against_the_definition(labels):
    images = pd.DataFrame(
        {
            "image": np.arange(len(labels)),
            "path": [f"{i}.jpg" for i in range(len(labels))],
            "label": pd.Series(labels, dtype="string"),
        }
    )
    queries, relevance = leave_one_out(images)
    asked = [i for i, label in enumerate(labels) if label is not None and labels.count(label) > 1]
    assert queries["image"].tolist() == asked
    assert queries["path"].tolist() == [f"{i}.jpg" for i in asked]
    assert queries["query"].tolist() == list(range(len(asked)))
    assert queries[["x0", "y0", "x1", "y1"]].isna().all(axis=None)
    expected = [
        (query, other, "junk" if other == image else "easy")
        for query, image in enumerate(asked)
        for other, label in enumerate(labels)
        if label == labels[image]
    ]
    assert list(relevance.itertuples(index=False, name=None)) == expected
